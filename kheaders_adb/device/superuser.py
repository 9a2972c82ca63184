"""Asking a su for root, and whom to ask instead where it is refused or not to be seen."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from kheaders_adb.device.device import Device
from kheaders_adb.device.managers import Manager, find_managers
from kheaders_adb.device.probe import Probe, ProbeFailedError, probe
from kheaders_adb.device.shells import FIND_ENCODER, parse_encoder
from kheaders_adb.device.su import Su, SuCommand
from kheaders_adb.errors import DeadlineError, KheadersError, PrivilegeError

SU_WAIT_S = 20.0
"""How long a su may take to answer: somebody may have to find the phone and touch its dialog."""
_DIALOG_NOTE_S = 2.0
_MANAGERS_WAIT_S = 5.0

Say = Callable[[str], None]


def become_root(device: Device, command: SuCommand, say: Say) -> Probe:
    """The probe made by root through a su; leaves `device` speaking through the dialect that worked.

    Trying a dialect *is* running the probe in it: one round trip if the first is the right one.

    Raises:
        PrivilegeError: it gives no root.
        TransferError, DeadlineError: the connection broke, or all of the time is over.
    """
    step = "asking su for root"
    said: list[str] = []
    for dialect in command.dialects:
        device.su = Su(command, dialect)
        note = threading.Timer(
            _DIALOG_NOTE_S,
            say,
            (f"waiting for {command} to answer; a dialog may be open on the device",),
        )
        note.daemon = True
        note.start()
        try:
            about = probe(device, deadline=device.deadline.sooner(SU_WAIT_S))
        except DeadlineError as error:
            device.su = None
            if device.deadline.expired:
                error.step = step
                raise
            raise PrivilegeError(
                f"{command} did not answer within {SU_WAIT_S:g} s",
                step=step,
                device=device.serial,
                hint="if a dialog is open on the device, allow it there; else allow the shell in the app "
                "that manages root, or do without: --privilege none",
            ) from error
        except ProbeFailedError as error:
            # This su does not speak this dialect, or it refuses; its words tell which.
            said.append(error.said)
            continue
        finally:
            note.cancel()
        if about.is_root and about.alters_bytes:
            return _encoded(device, device.su, step)
        if about.is_root:
            return about
        said.append(f"it gave uid {about.uid}")
    device.su = None
    reasons = "; ".join(dict.fromkeys(filter(None, said)))
    raise PrivilegeError(
        f"{command} gives no root ({reasons or 'it said nothing'})",
        step=step,
        device=device.serial,
        hint="allow the shell in the app that manages root on the device, or name another su with "
        "--su-command",
    )


def _encoded(device: Device, su: Su, step: str) -> Probe:
    """The probe made again by root through a su on a terminal, in an encoding that no terminal alters."""
    deadline = device.deadline.sooner(SU_WAIT_S)
    encoder = parse_encoder(device.run(FIND_ENCODER, step=step, deadline=deadline).stdout)
    if encoder:
        device.su = replace(su, encoder=encoder)
        about = probe(device, deadline=deadline)
        if about.is_root and not about.alters_bytes:
            return about
    device.su = None
    raise PrivilegeError(
        f"{su.command} runs commands on a terminal, which alters what is read through it, and there is no "
        "base64 to keep it from that",
        step=step,
        device=device.serial,
        hint="name another su with --su-command, or do without: --privilege none",
    )


def name_managers(error: PrivilegeError, device: Device, command: SuCommand) -> None:
    """Put into an error's hint what to touch on the device, if an app that manages root is seen there.

    This costs a round trip, so it is for errors only.  Whatever hinders it leaves the hint as it is, which is
    right without that.
    """
    managers: tuple[Manager, ...] = ()
    with suppress(KheadersError):
        managers = find_managers(device, command, device.deadline.sooner(_MANAGERS_WAIT_S))
    if managers:
        steps = "; ".join(manager.advice for manager in managers)
        error.hint = f"{steps}; then run this again; otherwise {error.hint}"
