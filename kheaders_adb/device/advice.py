"""What to do where a kernel's headers are not to be had: it depends on how they were built into it.  Pure.

A step that is not possible is worse than none: a kernel with CONFIG_IKHEADERS=y has no kheaders.ko to give,
and one without it has no headers that a file could hold.
"""

from __future__ import annotations

import enum

from kheaders_adb.device.probe import Probe
from kheaders_adb.kernel.config import parse_config

ROOT = "use a userdebug build (`adb root`) or a rooted device"
OTHER_DOMAIN = (
    'let su run commands in another domain: try --su-command "su -mm", and in the app that manages root give '
    "the shell (com.android.shell) the default profile; else use a userdebug build (`adb root`)"
)
GIVE_MODULE = "run `kheaders-adb pull --module FILE` with the kheaders.ko of this kernel's build"
# kernel/Makefile leaves the archive there; `import` matches it with the device like any other.
BUILT_IN = (
    "such a kernel has no kheaders.ko. Else import the archive that lies in the build's output folder: "
    "`kheaders-adb import kernel/kheaders_data.tar.xz -s SERIAL`; the kernel's image (boot.img, vmlinux) "
    "holds it too, but this version does not read it there"
)


class Setting(enum.Enum):
    """How a kernel was built to give its headers, as far as it says so."""

    BUILT_IN = "CONFIG_IKHEADERS=y"
    MODULE = "CONFIG_IKHEADERS=m"
    OFF = "CONFIG_IKHEADERS is not set"
    UNKNOWN = "no configuration to be read"


def setting_of(probe: Probe) -> Setting:
    """What the running kernel's configuration says of its headers."""
    if probe.config is None:
        return Setting.UNKNOWN
    symbols = parse_config(probe.config)
    value = symbols.get("IKHEADERS") or symbols.get("IKHEADERS_PROC")
    return {"y": Setting.BUILT_IN, "m": Setting.MODULE}.get(value or "", Setting.OFF)


def for_root_only(probe: Probe) -> str:
    """What to do about an archive that is there, for root, or for another root than this one."""
    root = OTHER_DOMAIN if probe.is_root else ROOT
    # Where a module shows it, or the configuration is not that of this kernel, a module may be had.
    setting = Setting.MODULE if probe.module_loaded else setting_of(probe)
    if setting is Setting.BUILT_IN:
        return f"{root}; {BUILT_IN}"
    carve = (
        "carve it out of the kheaders.ko of this kernel's build: --module kheaders.ko --via carve"
    )
    if setting is Setting.MODULE:
        return f"{root}, or {carve}"
    return f"{root}; if this kernel was built with CONFIG_IKHEADERS=m, {carve}"
