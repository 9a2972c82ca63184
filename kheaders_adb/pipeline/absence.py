"""Why a kernel shows no headers that this shell may read, and what then helps: a case for each state."""

from __future__ import annotations

from kheaders_adb.device.advice import (
    BUILT_IN,
    GIVE_MODULE,
    ROOT,
    Setting,
    for_root_only,
    setting_of,
)
from kheaders_adb.device.probe import Probe
from kheaders_adb.errors import NoHeadersError, PrivilegeError

_STEP = "looking for the headers"


def absence_error(
    serial: str, probe: Probe, *, told: str = "", other_ways: bool = False
) -> NoHeadersError:
    """The error for a kernel whose headers are neither shown nor to be loaded.

    Args:
        serial: the device.
        probe: what it said of itself.
        told: why root was not to be had; empty if it was not tried.
        other_ways: a module could be used, but ``--via sysfs`` excludes it.
    """
    shell = f"this shell (uid {probe.uid}{told and f'; {told}'})"
    if probe.archives:
        kind: type[NoHeadersError] = PrivilegeError
        seen = f"{probe.archives[0].path} is there, but only root may read it, and not {shell}"
        if probe.is_root:
            seen = (
                f"{probe.archives[0].path} is there, but not even root may read it"
                f"{told and f' ({told})'}"
            )
        hint = for_root_only(probe)
    else:
        kind, why, hint = _not_shown(probe, shell)
        seen = f"kernel {probe.identity.release} shows no headers: {why}"
    if other_ways:
        hint = "leave out --via sysfs: there is a kheaders.ko to take them from"
    return kind(seen, step=_STEP, device=serial, hint=hint)


def _not_shown(probe: Probe, shell: str) -> tuple[type[NoHeadersError], str, str]:
    match setting_of(probe):
        # SELinux may hide the file so well that it is not even there to be asked for.
        case Setting.BUILT_IN if not probe.is_root:
            why = f"its configuration says CONFIG_IKHEADERS=y, but {shell} does not see the file"
            return PrivilegeError, why, f"{ROOT}; {BUILT_IN}"
        case Setting.BUILT_IN:
            why = "its configuration says CONFIG_IKHEADERS=y, but not even root sees the file"
            hint = (
                "check that sysfs is mounted at /sys; if it is, /proc/config.gz may not be this kernel's "
                "own, and the headers have to come from the build that was flashed"
            )
            return NoHeadersError, why, hint
        case Setting.MODULE:
            # A module is carved without root, so that is not what is missing.
            where = "on the device" if probe.is_root else f"that {shell} sees"
            why = f"its configuration says CONFIG_IKHEADERS=m, but there is no kheaders.ko {where}"
            return NoHeadersError, why, GIVE_MODULE
        case Setting.OFF:
            hint = (
                "rebuild the kernel with CONFIG_IKHEADERS=m or =y and boot that one; the headers of another "
                "build would not be this kernel's"
            )
            return NoHeadersError, "it was built without CONFIG_IKHEADERS", hint
        case Setting.UNKNOWN if not probe.is_root:
            why = f"{shell} sees neither the file nor its configuration"
            hint = f"{ROOT}; if this kernel was built with CONFIG_IKHEADERS=m, {GIVE_MODULE}"
            return PrivilegeError, why, hint
        case Setting.UNKNOWN:
            hint = (
                f"if it was built with CONFIG_IKHEADERS=m, {GIVE_MODULE}; if without, rebuild it with that "
                "and boot that one"
            )
            return NoHeadersError, "its configuration cannot be read either", hint
