"""Where headers are read from: every way that can be chosen, and every reason why none can.

The modules and kernels here are small but whole: what chooses among them reads them as it reads real ones.
"""

from __future__ import annotations

import gzip
import hashlib
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from kheaders_adb.device.device import Device
from kheaders_adb.device.probe import DeviceFile, Probe
from kheaders_adb.errors import (
    ArchiveError,
    CorruptArchiveError,
    DeviceChangedError,
    KheadersError,
    MismatchError,
    NoHeadersError,
    PrivilegeError,
    UnsafeArchiveError,
    UsageError,
)
from kheaders_adb.model import HeaderSource, KernelIdentity, Level, SourceKind, Via
from kheaders_adb.pipeline.options import Tolerance
from kheaders_adb.pipeline.plans import Carved, OnDevice, Plan, Unusable
from kheaders_adb.pipeline.source import ways
from kheaders_adb.untrusted.limits import Limits
from tests.unit.device.peer import device_that, packet
from tests.wire.kernel import Kernel

KERNEL = Kernel(headers=2)
STALE = Kernel(headers=2, extra=(("KASAN", "y"),))
OTHER = Kernel(headers=2, release="6.1.99-android14-11-gfedcba987654", seed=2)
SYSFS, PROC = PurePosixPath("/sys/kernel/kheaders.tar.xz"), PurePosixPath("/proc/kheaders.tar.xz")
VENDOR = PurePosixPath("/vendor/lib/modules/kheaders.ko")
BOOT = "c1d0ff62-86b7-4ac5-9bd6-4bb2b6a9b1de"
ROOT = Probe(
    identity=KernelIdentity(
        release=KERNEL.release,
        version=KERNEL.version,
        machine=KERNEL.machine,
        banner=KERNEL.banner,
        build_id=KERNEL.build_id,
        config_sha256=sha256(KERNEL.config).hexdigest(),
        boot_id=BOOT,
    ),
    config=KERNEL.config,
    uid=0,
    archives=(),
    modules=(),
    module_loaded=False,
    modules_disabled=False,
    works=(PurePosixPath("/data/local/tmp/kheaders-adb"),),
    leftovers=(),
    has_su=False,
    debuggable=False,
)


def shows(path: PurePosixPath = SYSFS, *, readable: bool = True) -> DeviceFile:
    return DeviceFile(path, readable)


def holds(path: PurePosixPath | str = VENDOR, *, readable: bool = True) -> DeviceFile:
    return DeviceFile(PurePosixPath(path), readable)


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Write a module to the host and return its path."""

    def write(name: str, content: bytes | Kernel) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.module if isinstance(content, Kernel) else content)
        return path

    return write


@pytest.fixture
def choose() -> Iterator[Callable[..., Plan]]:
    """The first of ways() for a device whose `cat` gives what the test says; else nothing may be asked."""
    with ExitStack() as stack:

        def decide(
            probe: Probe,
            *,
            cat: bytes | None = None,
            error: bytes = b"",
            code: int = 0,
            **options: Any,
        ) -> Plan:
            commands: list[str] = []

            def run(sock: socket.socket, command: str) -> None:
                commands.append(command)
                sock.sendall(packet(2, error))
                for at in range(0, len(cat or b""), 65536):
                    sock.sendall(packet(1, (cat or b"")[at : at + 65536]))
                sock.sendall(packet(3, bytes([code])))

            device: Device = stack.enter_context(device_that(run))
            try:
                plan = next(ways(device, probe, **options))
                if isinstance(plan, Unusable):
                    raise plan.error
                return plan
            finally:
                assert device.round_trips == (0 if cat is None else 1), commands

        yield decide


Choose = Callable[..., Plan]
Put = Callable[..., Path]


# --- what the kernel shows


@pytest.mark.parametrize("via", [Via.AUTO, Via.SYSFS])
@pytest.mark.parametrize("path", [SYSFS, PROC])
def test_what_the_kernel_shows_comes_first(choose: Choose, via: Via, path: PurePosixPath) -> None:
    assert choose(replace(ROOT, archives=(shows(path),), modules=(holds(),)), via=via) == OnDevice(
        shown=True
    )


def test_a_module_given_in_vain_is_not_even_opened(choose: Choose, tmp_path: Path) -> None:
    plan = choose(replace(ROOT, archives=(shows(),)), module=tmp_path / "none.ko")
    assert plan == OnDevice(
        shown=True, notes=(f"--module is not needed: the kernel shows {SYSFS}",)
    )


@pytest.mark.parametrize("via", [Via.LOAD, Via.CARVE])
def test_another_way_can_be_demanded(choose: Choose, put: Put, via: Via) -> None:
    module = put("kheaders.ko", KERNEL)
    plan = choose(replace(ROOT, archives=(shows(),)), module=module, via=via)
    assert isinstance(plan, OnDevice if via is Via.LOAD else Carved)
    assert plan.notes == ()


# --- modules on the host


def test_a_module_that_fits_is_brought_along_and_known_beforehand(choose: Choose, put: Put) -> None:
    module = put("any name.bin", KERNEL)
    assert choose(ROOT, module=module) == OnDevice(
        payload=KERNEL.module,
        payload_path=module,
        archive_sha256=KERNEL.archive_sha256,
        archive_bytes=len(KERNEL.archive),
        module_sha256=hashlib.sha256(KERNEL.module).hexdigest(),
        vermagic=KERNEL.vermagic,
    )


def test_carving_it_on_demand(choose: Choose, put: Put) -> None:
    module = put("kheaders.ko", KERNEL)
    assert choose(ROOT, module=module, via=Via.CARVE) == Carved(
        archive=KERNEL.archive,
        source=HeaderSource(SourceKind.MODULE_CARVED, str(module)),
        vermagic=KERNEL.vermagic,
        module_sha256=sha256(KERNEL.module).hexdigest(),
    )


@pytest.mark.parametrize(
    ("probe", "obstacle"),
    [
        (replace(ROOT, uid=2000), "only root may load modules"),
        (replace(ROOT, uid=None), "only root may load modules"),
        (replace(ROOT, modules_disabled=True), "switched off until the next boot"),
    ],
)
def test_what_cannot_be_loaded_is_carved_and_said(
    choose: Choose, put: Put, probe: Probe, obstacle: str
) -> None:
    module = put("kheaders.ko", KERNEL)
    plan = choose(probe, module=module)
    assert isinstance(plan, Carved)
    (note,) = plan.notes
    assert note.startswith("carved instead of loaded: ")
    assert obstacle in note
    with pytest.raises(PrivilegeError) as caught:
        choose(probe, module=module, via=Via.LOAD)
    assert obstacle in caught.value.seen
    assert "leave out --via load" in (caught.value.hint or "")


def test_whether_loading_is_switched_off_may_be_unknown(choose: Choose, put: Put) -> None:
    plan = choose(replace(ROOT, modules_disabled=None), module=put("kheaders.ko", KERNEL))
    assert isinstance(plan, OnDevice)


@pytest.mark.parametrize("via", [Via.AUTO, Via.LOAD, Via.CARVE])
def test_a_wrong_module_is_refused_before_it_is_pushed(choose: Choose, put: Put, via: Via) -> None:
    module = put("kheaders.ko", OTHER)
    with pytest.raises(MismatchError) as caught:
        choose(ROOT, module=module, via=via)
    error = caught.value
    assert error.device == "X1"
    assert error.step == f"checking {module} before it is pushed"
    assert (
        f"release: the kernel has {KERNEL.release}, the headers have {OTHER.release}" in error.seen
    )
    assert "vermagic: " in error.seen
    assert "--allow-mismatch" in (error.hint or "")
    assert error.verdict is not None
    assert error.verdict.level is Level.MISMATCH


def test_a_stale_module_differs_in_its_configuration_alone(choose: Choose, put: Put) -> None:
    with pytest.raises(MismatchError) as caught:
        choose(ROOT, module=put("kheaders.ko", STALE))
    assert "# CONFIG_KASAN is not set" in caught.value.seen
    assert "get the kheaders.ko of this very build" in (caught.value.hint or "")
    assert "--repair-config" not in str(caught.value) + (caught.value.hint or "")


def test_a_wrong_module_that_is_allowed_is_still_never_inserted(choose: Choose, put: Put) -> None:
    plan = choose(ROOT, module=put("kheaders.ko", OTHER), tolerance=Tolerance.MISMATCHED)
    assert isinstance(plan, Carved)
    assert plan.archive == OTHER.archive
    assert plan.notes == ("a module known to be wrong is not inserted, its archive was carved",)


def test_without_a_configuration_it_is_as_good_as_can_be_known(choose: Choose, put: Put) -> None:
    assert isinstance(
        choose(replace(ROOT, config=None), module=put("kheaders.ko", STALE)), OnDevice
    )


# --- a folder of modules


def test_a_folder_is_chosen_from_by_content_not_by_name(
    choose: Choose, put: Put, tmp_path: Path
) -> None:
    put(f"m/{KERNEL.release}/kheaders.ko", OTHER)
    put("m/a-stale/kheaders.ko", STALE)
    right = put("m/z-misleading-5.4/kheaders.ko.gz", gzip.compress(KERNEL.module))
    put("m/readme.txt", b"no module")
    plan = choose(ROOT, module=tmp_path / "m")
    assert isinstance(plan, OnDevice)
    assert plan.payload_path == right
    assert plan.payload == KERNEL.module, "unpacked"
    assert plan.archive_sha256 == KERNEL.archive_sha256
    assert plan.notes == (
        f"of 3 modules in {tmp_path / 'm'}, z-misleading-5.4/kheaders.ko.gz fits best: "
        "its archive is exact for this kernel",
    )


def test_the_nearest_miss_is_the_one_that_is_told_of(
    choose: Choose, put: Put, tmp_path: Path
) -> None:
    put("m/a.ko", OTHER)
    put("m/b.ko", STALE)
    with pytest.raises(MismatchError, match="CONFIG_KASAN"):
        choose(ROOT, module=tmp_path / "m")


def test_what_is_no_module_in_a_folder_is_passed_over(
    choose: Choose, put: Put, tmp_path: Path
) -> None:
    put("m/broken.ko", b"\x7fELF")
    put("m/empty.ko", b"")
    (tmp_path / "m/unreadable.ko").symlink_to("/proc/self/mem")
    (tmp_path / "m/dangling.ko").symlink_to("nowhere")
    right = put("m/right.ko", KERNEL)
    plan = choose(ROOT, module=tmp_path / "m")
    assert isinstance(plan, OnDevice)
    assert plan.payload_path == right


def test_a_folder_without_any(choose: Choose, put: Put, tmp_path: Path) -> None:
    put("m/broken.ko", b"\x7fELF")
    with pytest.raises(
        UsageError, match=r"holds no usable kheaders\.ko\n    broken\.ko: "
    ) as caught:
        choose(ROOT, module=tmp_path / "m")
    assert caught.value.hint
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"holds no usable kheaders\.ko$"):
        choose(ROOT, module=tmp_path / "empty")


# --- a file that is none


def test_a_module_that_is_not_there(choose: Choose, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.ko does not exist"):
        choose(ROOT, module=tmp_path / "none.ko")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", CorruptArchiveError),
        (b"#!/bin/sh\n", CorruptArchiveError),
        (KERNEL.module[: len(KERNEL.module) // 2], CorruptArchiveError),
        (KERNEL.module.replace(b"name=kheaders", b"name=bluetoot"), ArchiveError),
    ],
    ids=["empty", "a script", "cut short", "another module"],
)
def test_a_file_that_is_no_such_module(
    choose: Choose, put: Put, content: bytes, error: type[KheadersError]
) -> None:
    with pytest.raises(error):
        choose(ROOT, module=put("kheaders.ko", content))


def test_caps_hold_for_modules_too(choose: Choose, put: Put) -> None:
    with pytest.raises(UnsafeArchiveError):
        choose(ROOT, module=put("kheaders.ko", KERNEL), limits=Limits(module_bytes=1000))


# --- modules on the device


def test_a_module_on_the_device_is_loaded(choose: Choose) -> None:
    assert choose(replace(ROOT, modules=(holds(),))) == OnDevice(module=VENDOR)
    assert choose(replace(ROOT, modules=(holds(),)), via=Via.LOAD) == OnDevice(module=VENDOR)


def test_that_of_the_running_release_is_preferred(choose: Choose) -> None:
    others = ("/vendor/lib/modules/kheaders.ko", "/lib/modules/5.4.0/kernel/kernel/kheaders.ko")
    right = f"/lib/modules/{KERNEL.release}/kernel/kernel/kheaders.ko"
    plan = choose(replace(ROOT, modules=tuple(map(holds, (*others, right)))), cat=KERNEL.module)
    assert plan == OnDevice(
        module=PurePosixPath(right),
        module_sha256=hashlib.sha256(KERNEL.module).hexdigest(),
        archive=KERNEL.archive,
        archive_sha256=KERNEL.archive_sha256,
        archive_bytes=len(KERNEL.archive),
        vermagic=KERNEL.vermagic,
    )


def test_a_module_on_the_device_can_be_carved(choose: Choose) -> None:
    probe = replace(ROOT, uid=2000, modules=(holds("/a/kheaders.ko", readable=False), holds()))
    plan = choose(probe, cat=KERNEL.module)
    assert plan == Carved(
        archive=KERNEL.archive,
        source=HeaderSource(SourceKind.MODULE_CARVED, str(VENDOR)),
        vermagic=KERNEL.vermagic,
        notes=(f"carved out of {VENDOR} instead of loading it: only root may load modules",),
        module_sha256=sha256(KERNEL.module).hexdigest(),
    )
    asked = choose(replace(ROOT, modules=(holds(),)), via=Via.CARVE, cat=KERNEL.module)
    assert asked.notes == ()


BOOTS = ("c1d0ff62-86b7-4ac5-9bd6-4bb2b6a9b1de", "c1d0ff62-0000-4ac5-9bd6-4bb2b6a9b1de")


def test_the_boot_in_which_a_module_was_read_is_what_its_own_shell_said(choose: Choose) -> None:
    identity = replace(ROOT.identity, boot_id=BOOTS[0])
    probe = replace(ROOT, identity=identity, modules=(holds(),))
    said = f"{BOOTS[0]}\n".encode()
    plan = choose(probe, via=Via.CARVE, cat=KERNEL.module, error=said)
    assert isinstance(plan, Carved)
    assert plan.boot_id == BOOTS[0]
    unseen = choose(probe, via=Via.CARVE, cat=KERNEL.module, error=b"cat: Permission denied\n")
    assert isinstance(unseen, Carved)
    assert unseen.boot_id is None, "what was not read again is not taken from before"
    with pytest.raises(DeviceChangedError, match=BOOTS[1]):
        choose(probe, via=Via.CARVE, cat=KERNEL.module, error=f"{BOOTS[1]}\n".encode())


def test_a_module_on_the_host_says_nothing_of_a_boot(choose: Choose, put: Put) -> None:
    plan = choose(ROOT, module=put("kheaders.ko", KERNEL), via=Via.CARVE)
    assert isinstance(plan, Carved)
    assert plan.boot_id is None


def test_a_module_on_the_device_that_cannot_be_loaded(choose: Choose) -> None:
    with pytest.raises(PrivilegeError, match="cannot be loaded: only root") as caught:
        choose(replace(ROOT, uid=2000, modules=(holds(),)), via=Via.LOAD)
    assert "leave out --via load" in (caught.value.hint or "")


def test_a_module_on_the_device_that_can_be_neither_loaded_nor_read(choose: Choose) -> None:
    probe = replace(ROOT, uid=2000, modules=(holds(readable=False),))
    with pytest.raises(PrivilegeError, match="can neither be loaded") as caught:
        choose(probe)
    assert "--module kheaders.ko" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"cat": b"", "code": 1, "error": b"cat: \x1b[m no"}, PrivilegeError, "cat: \\x1b[m no"),
        ({"cat": b"#!/bin/sh"}, CorruptArchiveError, ""),
        ({"cat": KERNEL.module, "limits": Limits(module_bytes=999)}, UnsafeArchiveError, "999"),
    ],
)
def test_a_module_on_the_device_that_is_none(
    choose: Choose, options: dict[str, Any], error: type[KheadersError], words: str
) -> None:
    # The name is the device's own: it may be longer than any file name here.
    path = PurePosixPath("/vendor/lib/modules/kheaders.ko" + "x" * 5000)
    with pytest.raises(error) as caught:
        choose(replace(ROOT, uid=2000, modules=(holds(path),)), **options)
    assert words in caught.value.seen
    assert caught.value.device == "X1"
    assert str(path) in (caught.value.step or "")


# --- no way


CONFIG = KERNEL.config.replace(b"CONFIG_IKHEADERS=m\n", b"")


BUILT_IN, AS_MODULE = CONFIG + b"CONFIG_IKHEADERS=y\n", CONFIG + b"CONFIG_IKHEADERS=m\n"
AS_ROOT = "use a userdebug build (`adb root`) or a rooted device"
IMPORT = "kheaders-adb import kernel/kheaders_data.tar.xz"
GIVE = "--module FILE"
REBUILD = "rebuild"
CARVE = "--via carve"


@dataclass(frozen=True, slots=True)
class Absent:
    """One state of a kernel that gives no headers: the configuration, and who asks for them."""

    config: bytes | None
    uid: int
    kind: type[NoHeadersError]
    seen: str
    helps: tuple[str, ...]


ABSENT = {
    "y, not root": Absent(
        BUILT_IN,
        2000,
        PrivilegeError,
        "CONFIG_IKHEADERS=y, but this shell (uid 2000; no su) does not see the file",
        (AS_ROOT, IMPORT),
    ),
    "y in proc, not root": Absent(
        CONFIG + b"CONFIG_IKHEADERS_PROC=y\n",
        2000,
        PrivilegeError,
        "does not see",
        (AS_ROOT, IMPORT),
    ),
    "y, root": Absent(BUILT_IN, 0, NoHeadersError, "not even root sees the file", ("sysfs",)),
    "m, not root": Absent(
        AS_MODULE,
        2000,
        NoHeadersError,
        "CONFIG_IKHEADERS=m, but there is no kheaders.ko that this shell (uid 2000; no su) sees",
        (GIVE,),
    ),
    "m, root": Absent(
        AS_MODULE, 0, NoHeadersError, "there is no kheaders.ko on the device", (GIVE,)
    ),
    "off, not root": Absent(
        CONFIG, 2000, NoHeadersError, "built without CONFIG_IKHEADERS", (REBUILD,)
    ),
    "off, root": Absent(CONFIG, 0, NoHeadersError, "built without CONFIG_IKHEADERS", (REBUILD,)),
    "unknown, not root": Absent(
        None, 2000, PrivilegeError, "sees neither the file nor its configuration", (AS_ROOT, GIVE)
    ),
    "unknown, root": Absent(
        None, 0, NoHeadersError, "its configuration cannot be read", (GIVE, REBUILD)
    ),
}


@pytest.mark.parametrize("via", list(Via))
@pytest.mark.parametrize("state", ABSENT)
def test_a_kernel_without_headers(choose: Choose, via: Via, state: str) -> None:
    absent = ABSENT[state]
    refusals = () if absent.uid == 0 else ("no su",)
    with pytest.raises(NoHeadersError) as caught:
        choose(replace(ROOT, config=absent.config, uid=absent.uid, refusals=refusals), via=via)
    assert type(caught.value) is absent.kind
    assert absent.seen in caught.value.seen
    assert KERNEL.release in caught.value.seen
    hint = caught.value.hint or ""
    advised = tuple(step for step in (AS_ROOT, IMPORT, GIVE, REBUILD, "sysfs") if step in hint)
    assert advised == absent.helps, hint
    if absent.config == BUILT_IN:
        # Such a build makes no module, and there is none to carve.
        assert "--module" not in hint
        assert CARVE not in hint


@pytest.mark.parametrize("via", [Via.AUTO, Via.SYSFS])
@pytest.mark.parametrize(
    ("config", "loaded", "helps"),
    [
        (BUILT_IN, False, (AS_ROOT, IMPORT)),
        (AS_MODULE, True, (AS_ROOT, CARVE)),
        (BUILT_IN, True, (AS_ROOT, CARVE)),  # a module does show it, whatever /proc/config.gz says
        (None, False, (AS_ROOT, "if this kernel was built with CONFIG_IKHEADERS=m", CARVE)),
        (CONFIG, False, (AS_ROOT, "if this kernel was built with CONFIG_IKHEADERS=m", CARVE)),
    ],
)
def test_headers_for_root_only(
    choose: Choose, via: Via, config: bytes | None, loaded: bool, helps: tuple[str, ...]
) -> None:
    archives = (shows(readable=False),)
    probe = replace(ROOT, uid=2000, archives=archives, config=config, module_loaded=loaded)
    with pytest.raises(
        PrivilegeError, match=r"only root may read it, and not this shell \(uid 2000\)"
    ) as caught:
        choose(probe, via=via)
    hint = caught.value.hint or ""
    steps = (AS_ROOT, IMPORT, "if this kernel was built with CONFIG_IKHEADERS=m", CARVE)
    assert tuple(step for step in steps if step in hint) == helps


@pytest.mark.parametrize("given", [True, False])
def test_a_way_that_was_excluded_is_named(choose: Choose, put: Put, given: bool) -> None:
    module = put("kheaders.ko", KERNEL) if given else None
    probe = ROOT if given else replace(ROOT, modules=(holds(),))
    with pytest.raises(NoHeadersError) as caught:
        choose(probe, via=Via.SYSFS, module=module)
    assert "leave out --via sysfs" in (caught.value.hint or "")


def test_headers_for_root_only_are_carved_from_a_module_given(choose: Choose, put: Put) -> None:
    probe = replace(ROOT, uid=2000, archives=(shows(readable=False),))
    assert isinstance(choose(probe, module=put("kheaders.ko", KERNEL)), Carved)
