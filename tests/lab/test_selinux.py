"""Phones under SELinux: what their domains let through, and what becomes of a pull.

The policy is fixtures/lab/data/guest/selinux.conf.  What is denied is looked up in the kernel's log, so that
no test passes because something else failed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fixtures.lab import Device, Lab
from tests.conftest import LONG
from tests.lab.cli import User, is_empty
from tests.lab.conftest import kheaders_of

Boot = Callable[..., Device]

KERNEL = "x86_64-signed"
GUEST_MODULE = "/vendor/lib/modules/kheaders.ko"
ARCHIVE = "/sys/kernel/kheaders.tar.xz"
BY_HAND = "/data/local/tmp/by-hand.ko"


def denials(device: Device) -> str:
    """The kernel's log since it was last asked, as far as SELinux denied something."""
    log = device.root_shell("dmesg -c").stdout
    return "\n".join(line for line in log.splitlines() if "avc:  denied" in line)


def denied(what: str, domain: str, label: str, kind: str, log: str) -> bool:
    """Whether a domain was denied something on what has a label."""
    return any(
        f"denied  {{ {what} }}" in line
        and f"scontext=u:r:{domain}:s0 " in line
        and f":{label}:s0 tclass={kind} permissive=0" in line
        for line in log.splitlines()
    )


@contextmanager
def switched(device: Device, boolean: str, on: bool) -> Iterator[None]:
    """A boolean of the policy, set for the body of the ``with``."""

    def write(value: bool) -> None:
        done = device.root_shell(
            f"echo {value:d} >/sys/fs/selinux/booleans/{boolean} &&"
            f" echo 1 >/sys/fs/selinux/commit_pending_bools; cat /sys/fs/selinux/booleans/{boolean}"
        )
        assert done.stdout == f"{value:d} {value:d}", done

    write(on)
    try:
        yield
    finally:
        write(not on)


@contextmanager
def loaded(device: Device, lab: Lab) -> Iterator[None]:
    """kheaders in the kernel, loaded by root, as by somebody else."""
    device.push(kheaders_of(KERNEL, lab), BY_HAND)
    done = device.root_shell(f"insmod {BY_HAND}; rm {BY_HAND}; test -e {ARCHIVE}")
    assert done.returncode == 0, done.stderr
    try:
        yield
    finally:
        device.root_shell("rmmod kheaders")


def domain(device: Device, before: str = "") -> str:
    """The domain of the device's shell, or of what `before` runs the question in."""
    return device.shell(f"{before} cat /proc/self/attr/current").stdout.rstrip("\0\n")


@pytest.mark.parametrize(
    "path",
    [
        "/proc/config.gz",
        "/proc/version",
        "/proc/modules",
        "/proc/sys/kernel/random/boot_id",
        "/vendor/lib",
        "/sys/kernel",
    ],
)
def test_what_the_shell_may_read_or_list(path: str, boot: Boot) -> None:
    device = boot(KERNEL, "user", selinux=True)
    assert domain(device) == "u:r:shell:s0"
    denials(device)
    done = device.shell(f"if [ -d {path} ]; then echo {path}/*; else cat {path} | wc -c; fi")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() not in ("", f"{path}/*")
    assert denials(device) == ""


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/sys/kernel/notes", "sysfs"),
        ("/sys/kernel/uevent_seqnum", "sysfs"),
        ("/proc/sys/kernel/osrelease", "proc"),
        ("/proc/sys/kernel/modules_disabled", "proc"),
        ("/proc/meminfo", "proc"),
    ],
)
def test_what_the_shell_may_not_even_see(path: str, label: str, boot: Boot) -> None:
    device = boot(KERNEL, "user", selinux=True)
    assert device.root_shell(f"cat {path} >/dev/null; stat -c %a {path}").stdout in (
        "444\n",
        "644\n",
    )
    denials(device)
    done = device.shell(f"[ -e {path} ] || [ -r {path} ]")
    assert done.returncode == 1
    assert denied("getattr", "shell", label, "file", denials(device))
    assert device.shell(f"cat {path}").stderr == f"cat: {path}: Permission denied\n"
    assert denied("read", "shell", label, "file", denials(device))


def test_on_a_user_build_a_module_given_is_carved_and_matched_by_its_configuration(
    boot: Boot, lab: Lab, tmp_path: Path
) -> None:
    device = boot(KERNEL, "user", selinux=True)
    user = User(device, tmp_path)
    without = user.run("pull")
    assert (without.code, without.out) == (4, "")
    assert (
        "CONFIG_IKHEADERS=m, but there is no kheaders.ko that this shell (uid 2000; " in without.err
    )
    assert is_empty(user.store)
    denials(device)
    done = user.run("pull", "--json", "--module", str(kheaders_of(KERNEL, lab)))
    assert done.code == 0, done.err
    assert done.document["source"]["kind"] == "module-carved"
    assert done.document["verdict"]["level"] == "exact"
    # The shell may not read the notes, where the build-id is.
    assert done.document["kernel"]["build_id"] is None
    assert denied("read", "shell", "sysfs", "file", denials(device))


def test_an_archive_that_the_shell_may_not_see_is_not_pulled_and_what_is_loaded_stays(
    boot: Boot, lab: Lab, tmp_path: Path
) -> None:
    device = boot(KERNEL, "user", selinux=True)
    user = User(device, tmp_path)
    with loaded(device, lab):
        before = user.traces()
        # Its name can be listed, as the folder is open.
        assert device.shell("ls /sys/kernel | grep kheaders").stdout == "kheaders.tar.xz\n"
        denials(device)
        done = user.run("pull", "--via", "sysfs")
        assert (done.code, done.out) == (4, "")
        assert denied("getattr", "shell", "sysfs", "file", denials(device))
        assert user.traces() == before


def test_a_shell_may_read_the_archive_where_adbd_itself_may_not(boot: Boot, lab: Lab) -> None:
    device = boot(KERNEL, "user", selinux=True)
    with loaded(device, lab), switched(device, "shell_reads_sysfs", True):
        own = hashlib.sha256(device.pull_bytes(ARCHIVE)).hexdigest()
        assert device.shell(f"cat {ARCHIVE} | sha256sum").stdout.split()[0] == own
        denials(device)
        assert "denied" in lab.server.adb("-s", device.serial, "pull", ARCHIVE, "/dev/null").stderr
        assert denied("getattr", "adbd", "sysfs", "file", denials(device))


def test_su_is_a_domain_of_its_own_and_pulls(boot: Boot, lab: Lab, tmp_path: Path) -> None:
    device = boot(
        KERNEL,
        "user-su-magisk",
        selinux=True,
        device_modules={GUEST_MODULE: kheaders_of(KERNEL, lab)},
    )
    assert domain(device) == "u:r:shell:s0"
    assert domain(device, "su -c") == "u:r:su:s0"
    user = User(device, tmp_path)
    done = user.run("pull", "--json")
    assert done.code == 0, done.err
    assert done.document["source"] == {"kind": "module-loaded", "path": GUEST_MODULE}
    assert done.document["kernel"]["evidence"] == "build-id"
    assert done.document["verdict"]["level"] == "exact"
    assert user.traces() == ""
    denials(device)
    with switched(device, "su_loads_modules", False):
        refused = user.run("pull", "--refresh", "--via", "load")
        log = denials(device)
        said = device.shell(f"su -c 'insmod {GUEST_MODULE}'").stderr
    assert said == f"insmod: failed to load {GUEST_MODULE}: Permission denied\n"
    assert denied("module_load", "su", "rootfs", "system", log)
    assert (refused.code, refused.out) == (4, "")
    assert "avc: denied { module_load }" in refused.err
    assert "--via carve" in refused.err
    assert user.traces() == ""


@pytest.mark.skipif(not LONG, reason="adbd restarts twice: KHEADERS_LONG=1")
def test_adb_root_is_the_domain_of_su(fresh: Boot, lab: Lab, tmp_path: Path) -> None:
    device = fresh(
        KERNEL, "userdebug", selinux=True, device_modules={GUEST_MODULE: kheaders_of(KERNEL, lab)}
    )
    done = User(device, tmp_path).run("pull", "--json")
    assert done.code == 0, done.err
    assert done.document["kernel"]["evidence"] == "build-id"
    assert domain(device) == "u:r:shell:s0"
    kept = User(device, tmp_path).run("pull", "--privilege", "adbd", "--keep-root", "--refresh")
    assert kept.code == 0, kept.err
    assert domain(device) == "u:r:su:s0"
