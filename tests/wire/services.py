"""What adbd does: shells, sync, root and reboot, each over one channel."""

from __future__ import annotations

from .devices import Device, HangUp, SyncAccess
from .faults import Channel
from .protocol import OKAY
from .shells import Shell, Wire
from .sync import Sync


def open_service(channel: Channel, device: Device, service: str) -> bool:
    """Serve one request to adbd; False if adbd does not know it (the caller says "closed")."""
    name, colon, rest = service.partition(":")
    if not colon:
        return False
    kind, *options = name.split(",")
    if kind == "shell":
        if options and not device.adbd.is_modern:
            return False  # before API 24 adbd knew "shell:" only
        wire = Wire.PROTOCOL if "v2" in options else Wire.MERGED
        # Since API 24 commands have pipes, unless a client asks for a PTY (`adb shell -t`).
        on_pty = "pty" in options or not device.adbd.is_modern
        channel.send(OKAY)
        Shell(channel, device, rest, wire, on_pty=on_pty).run()
    elif name == "exec" and device.adbd.has_exec:
        channel.send(OKAY)
        Shell(channel, device, rest, Wire.EXEC).run()
    elif name == "sync" and device.sync_access is not SyncAccess.CLOSED:
        channel.send(OKAY)
        Sync(channel, device).run()
    elif name in ("root", "unroot"):
        _change_user(channel, device, root=name == "root")
    elif name == "reboot":
        channel.send(OKAY)
        channel.close()
        device.reboot()
    else:
        return False
    return True


def _change_user(channel: Channel, device: Device, *, root: bool) -> None:
    """restart_root_service() and restart_unroot_service() of daemon/restart_service.cpp.

    When one that was granted is over adbd exits (`exit_on_close` of sockets.cpp), so that its text may or
    may not arrive.
    """
    if root and device.uid == 0:
        channel.send(OKAY + b"adbd is already running as root\n")
    elif root and not device.debuggable:
        channel.send(OKAY + b"adbd cannot run as root in production builds\n")
    elif not root and device.uid != 0:
        channel.send(OKAY + b"adbd not running as root\n")
    else:
        hangs_up = device.adbd_restart.hangs_up
        if hangs_up is not HangUp.AT_ONCE:
            channel.send(OKAY)
        if hangs_up is HangUp.AFTER_TEXT:
            channel.send(b"restarting adbd as root\n" if root else b"restarting adbd as non root\n")
        device.restart_adbd(0 if root else 2000)
