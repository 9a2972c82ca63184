"""Apps that manage root on a device: which are seen there, and what to touch in them.

Magisk's su is there for everybody and asks.  KernelSU and APatch hide theirs from whom they do not allow it:
no file, "inaccessible or not found" (tiann/KernelSU #769, bmax121/APatch #182).  So a missing su proves
nothing; an app that is installed says more.  /data/adb says nothing: Android makes it on every device.
"""

from __future__ import annotations

import enum

from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.device.device import Device
from kheaders_adb.device.su import SuCommand

_MAGISK_ADVICE = (
    "Magisk is on the device: allow its dialog, or in its app switch on Superuser → Shell "
    "(com.android.shell), with Settings → Superuser access at 'Apps and ADB'"
)
_HIDES = "{0}'s app is on the device, and {0} hides su from apps that it does not allow"
_HIDING_ADVICE = (
    _HIDES + ": in the app, Superuser → ⋮ → Show system apps → Shell (com.android.shell), "
)


class Manager(enum.Enum):
    """A way to root that has an app; the value is what to do there, in the app's own words."""

    MAGISK = _MAGISK_ADVICE
    KERNELSU = _HIDING_ADVICE.format("KernelSU") + "switch on Superuser"
    APATCH = (
        _HIDING_ADVICE.format("APatch")
        + "switch it on; if the app shows another name for su, give that with --su-command"
    )

    @property
    def advice(self) -> str:
        """What to do on the device."""
        return self.value


_PACKAGES = {
    "com.topjohnwu.magisk": Manager.MAGISK,
    "me.weishu.kernelsu": Manager.KERNELSU,
    "com.rifsxd.ksunext": Manager.KERNELSU,  # KernelSU Next
    "me.bmax.apatch": Manager.APATCH,
}


def find_managers(device: Device, command: SuCommand, deadline: Deadline) -> tuple[Manager, ...]:
    """The managers of root that the device shows to anybody: by their apps, and by what su says of itself.

    Raises:
        TransferError, DeadlineError: the device did not answer.
    """
    script = "pm list packages 2>/dev/null"
    if command == SuCommand():
        # It neither asks nor waits for anybody; of another program it is not known what -v does.
        script += "; su -v 2>/dev/null"
    result = device.run(script, step="looking for an app that manages root", deadline=deadline)
    return managers_in(result.stdout.decode("utf-8", "replace"))


def managers_in(text: str) -> tuple[Manager, ...]:
    """The managers that a list of packages, or a su's version, names."""
    found = {
        manager
        for package, manager in _PACKAGES.items()
        if f"package:{package}" in text.splitlines()
    }
    # The app may have been hidden under another name; "28.1:MAGISKSU" is what its su calls itself.
    if ":MAGISKSU" in text:
        found.add(Manager.MAGISK)
    return tuple(manager for manager in Manager if manager in found)
