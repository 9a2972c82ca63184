"""Apps that manage root: they are named where they were seen, and only there."""

from __future__ import annotations

import pytest

from kheaders_adb.device.managers import Manager, managers_in


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ()),
        ("package:com.android.shell\npackage:com.android.settings\n", ()),
        ("package:com.topjohnwu.magisk\n", (Manager.MAGISK,)),
        ("package:com.android.shell\n28.1:MAGISKSU\n", (Manager.MAGISK,)),
        ("package:com.topjohnwu.magisk\n28.1:MAGISKSU\n", (Manager.MAGISK,)),
        ("package:me.weishu.kernelsu\n", (Manager.KERNELSU,)),
        ("package:com.rifsxd.ksunext\n", (Manager.KERNELSU,)),
        (
            "package:me.bmax.apatch\npackage:com.topjohnwu.magisk\n",
            (Manager.MAGISK, Manager.APATCH),
        ),
        # Names that only begin so, or stand in something else.
        ("package:me.weishu.kernelsu.theme\npackage:x.me.bmax.apatch\n", ()),
        ("su: invalid uid/gid '-v'\nme.bmax.apatch\n", ()),
        ("su: not found\n2.82:SUPERSU\n", ()),
    ],
)
def test_what_a_device_shows(text: str, found: tuple[Manager, ...]) -> None:
    assert managers_in(text) == found


@pytest.mark.parametrize(
    ("manager", "words"),
    [
        (Manager.MAGISK, ["Magisk", "Superuser", "com.android.shell", "Apps and ADB"]),
        (Manager.KERNELSU, ["KernelSU", "Superuser", "Show system apps", "com.android.shell"]),
        (
            Manager.APATCH,
            ["APatch", "Superuser", "Show system apps", "com.android.shell", "--su-command"],
        ),
    ],
)
def test_what_to_touch_is_in_the_apps_own_words(manager: Manager, words: list[str]) -> None:
    assert [word for word in words if word not in manager.advice] == []
