"""The commands against a fake device and the store that a pull fills: what they print, and where."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kheaders_adb.model import KernelIdentity
from kheaders_adb.store import Store
from tests.unit.cli.conftest import Done, Run
from tests.unit.golden import check_golden
from tests.unit.store.helpers import pull as stage
from tests.wire.devices import ARCHIVE_PATH, Headers, State
from tests.wire.kernel import Kernel
from tests.wire.server import Server

KERNEL = Kernel(headers=2)
OTHER = Kernel(headers=2, release="6.6.30-android15-8", seed=2)


@pytest.fixture
def staged(run: Run, server: Server) -> Done:
    """A pull from the device PHONE into the store; the fake server goes on."""
    server.add_device("PHONE", kernel=KERNEL)
    done = run("pull")
    assert done.code == 0, done.err
    return done


def steady(text: str, store_path: Path) -> str:
    """`text` without what differs from run to run, and from one version of liblzma to the next."""
    for pattern, name in (
        (re.escape(str(store_path)), "STORE"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "YYYY-MM-DD HH:MM:SS"),
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "BOOT-ID"),
        (r"(?m)(now|\d+ s)$", "AGE"),
        (r"tcp:127\.0\.0\.1:\d+", "tcp:127.0.0.1:PORT"),
        (r"takes [\d.]+ [KM]iB, [\d.]+ GiB free", "takes N KiB, N GiB free"),
        (r"sha256 [0-9a-f]{64}", "sha256 HEX"),
        (r"trees/[0-9a-f]{64}", "trees/HEX"),
        (r"\d+ bytes, ", "N bytes, "),
        (r"\d+(\.\d)? [KM]iB", "SIZE"),
        (r"SIZE {2,}", "SIZE  "),
    ):
        text = re.sub(pattern, name, text)
    return text


# --- pull


def test_pull_says_one_thing_on_stdout_and_the_rest_on_stderr(staged: Done, tmp_path: Path) -> None:
    tree = Path(staged.out.rstrip("\n"))
    assert staged.out == f"{tree}\n"
    assert (tree / "include/linux/sched.h").is_file()
    assert staged.err == (
        f"PHONE: kernel {KERNEL.release} (aarch64, build-id {KERNEL.build_id[:12]})\n"
        f"  headers: read {ARCHIVE_PATH}, 0.0 MiB\n"
        "  verdict: exact (release, machine, config, builder, continuity agree; version unknown)\n"
    )


def test_a_quiet_pull(run: Run, staged: Done) -> None:
    done = run("pull", "-q")
    assert (done.code, done.out, done.err) == (0, staged.out, "")


@pytest.mark.usefixtures("staged")
def test_why_what_is_staged_is_used_again(run: Run, server: Server) -> None:
    assert "reuse" not in run("pull").err
    alone = "it was staged in another boot or from another device; the build-id agrees, "
    for why, reuse in (
        ((), "  reuse: build-id (it was staged for this device, and the build-id agrees)\n"),
        (("--refresh",), "  reuse: none (it was asked to read the archive again (--refresh))\n"),
    ):
        assert reuse in run("pull", "-v", *why).err
    assert "reuse" not in run("pull", "-v", "-q").err
    server.add_device("SECOND", kernel=KERNEL, without=("sha256sum",))
    # What a device may copy is said without being asked.
    done = run("-s", "SECOND", "pull")
    assert f"  note: used again by its build-id alone: {alone}the archive's sha256 " in done.err
    done = run("-s", "SECOND", "pull", "--verbose")
    assert f"  reuse: build-id ({alone}the archive's sha256 is not to be had)\n" in done.err
    assert "note: used again" not in done.err


@pytest.mark.usefixtures("staged")
def test_pull_in_json(run: Run) -> None:
    document = run("pull", "--json", "-q").document
    assert document["schema"] == 1
    assert document["cached"] is True
    assert document["device_round_trips"] == 1
    assert document["serial"] == "PHONE"
    assert document["kernel"]["boot_id"]
    assert Path(document["tree"]).is_dir()


def test_links_that_lead_nowhere_are_left_out_and_told_of(
    run: Run, server: Server, tmp_path: Path
) -> None:
    """As in 4.19 kernels for Qualcomm, and a vendor's absolute paths; and once more when nothing is read."""
    links = (
        ("include/filler/good.h", "part_0000.h"),
        ("include/filler/ion.h", "../../drivers/staging/android/uapi/ion.h"),
        ("include/linux/rtmm.h", "/home/builder/kernel/rtmm.h"),
    )
    kernel = Kernel(headers=2, links=links)
    server.add_device("PHONE", kernel=kernel)
    note = (
        "  note: 2 links of the archive lead nowhere inside it and were left out: "
        "include/filler/ion.h -> ../../drivers/staging/android/uapi/ion.h, "
        "include/linux/rtmm.h -> /home/builder/kernel/rtmm.h\n"
    )
    for _ in range(2):
        done = run("pull")
        assert done.code == 0, done.err
        assert note in done.err
        assert "hostile" not in done.err
    tree = Path(done.out.rstrip())
    assert (tree / "include/filler/good.h").resolve() == tree / "include/filler/part_0000.h"
    assert not (tree / "include/linux/rtmm.h").is_symlink()
    left_out = [
        {"path": links[1][0], "target": links[1][1], "reason": "link-dangling"},
        {"path": links[2][0], "target": links[2][1], "reason": "link-absolute"},
    ]
    for command in (["pull"], ["show"], ["list"]):
        document = run(*command, "--json").document
        archive = document.get("archive") or document["kernels"][0]["archive"]
        assert archive["omitted"] == left_out
        assert archive["omitted_count"] == 2
    assert "2 links of the archive lead nowhere" in run("show").out
    assert run("verify", "--json").document["omitted"] == 2
    assert "2 links of the archives led nowhere inside them" in run("verify").err
    file = tmp_path / "kheaders.tar.xz"
    file.write_bytes(kernel.archive)
    done = run("import", file, "--store", tmp_path / "other")
    assert done.code == 0, done.err
    assert note in done.err
    assert note not in run("verify").err


def test_an_error_in_json_is_one_object_on_stdout(run: Run, server: Server) -> None:
    server.add_device("PHONE", headers=Headers.ABSENT)
    done = run("pull", "--json")
    assert done.code == 4
    assert done.document.keys() == {"schema", "error"}
    assert done.document["error"]["kind"] == "no-headers"
    assert done.err.startswith("kheaders-adb: error: PHONE: ")


def test_a_mismatch_in_json_has_its_verdict(run: Run, server: Server) -> None:
    device = server.add_device("PHONE", kernel=KERNEL)
    device.put(ARCHIVE_PATH, OTHER.archive)
    document = run("pull", "--json").document
    assert document["error"]["exit_code"] == 5
    assert document["error"]["verdict"]["level"] == "mismatch"
    assert document["error"]["verdict"]["differences"] == []


def test_a_tree_staged_under_a_mismatch_warns_each_time(run: Run, server: Server) -> None:
    device = server.add_device("PHONE", kernel=KERNEL)
    device.put(ARCHIVE_PATH, OTHER.archive)
    warning = "warning: PHONE: these headers do NOT belong to this kernel (release"
    first = run("pull", "--allow-mismatch", "-q")
    assert first.code == 0
    assert warning in first.err
    assert warning in run("pull", "--allow-mismatch", "-q").err
    for command in ("path", "show"):
        done = run(command, "-q")
        assert done.code == 0
        assert "do NOT belong to this kernel" in done.err
    assert run("pull").code == 5, "allowed once is not allowed for good"


def test_a_repaired_tree_warns_each_time_but_not_who_wants_silence(
    run: Run, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where compdb writes
    device = server.add_device("PHONE", kernel=KERNEL)
    device.put(ARCHIVE_PATH, replace(KERNEL, extra=(("KASAN", "y"),)).archive)
    assert run("pull").code == 5
    (tmp_path / "prog.c").write_text("")
    for command in (
        ("pull", "--repair-config"),
        ("pull", "--repair-config"),
        ("path",),
        ("show",),
        ("cflags",),
        ("env",),
        ("compdb", tmp_path / "prog.c"),
        ("push", "-s", "PHONE"),
        ("compile", tmp_path / "prog.c", "-s", "PHONE"),
    ):
        for quiet in ((), ("-q",)):
            done = run(*command, *quiet)
            said = "warning: " in done.err and "these headers are repaired" in done.err
            assert said is not bool(quiet), (command, done.err)
            assert said is False or "CONFIG_KASAN" in done.err
            assert done.code == (9 if command[0] == "compile" else 0), (command, done.err)
    assert run("pull").code == 5, "asked for once is not asked for by everybody"
    assert run("pull", "--repair-config", "--json").document["cached"] is True


def test_of_two_flags_neither_is_silently_ignored(run: Run, server: Server) -> None:
    device = server.add_device("PHONE", kernel=KERNEL)
    device.put(ARCHIVE_PATH, OTHER.archive)
    done = run("pull", "--allow-mismatch", "--repair-config")
    assert done.code == 0
    assert "note: not repaired: besides the configuration differs: release" in done.err
    assert "do NOT belong to this kernel" in done.err
    device.put(ARCHIVE_PATH, replace(KERNEL, extra=(("KASAN", "y"),)).archive)
    done = run("pull", "--allow-mismatch", "--repair-config", "--refresh", "--json")
    assert done.document["verdict"]["level"] == "repaired"


# --- options before and after the command


def test_options_before_and_after_the_command(run: Run, server: Server, tmp_path: Path) -> None:
    server.add_device("ONE", kernel=KERNEL)
    server.add_device("TWO", kernel=OTHER)
    before = run("-s", "ONE", "--store", tmp_path / "s", "--json", "-q", "pull")
    after = run("pull", "-s", "ONE", "--store", tmp_path / "s", "--json", "-q")
    assert before.document["serial"] == after.document["serial"] == "ONE"
    assert before.document["tree"] == after.document["tree"]
    assert str(tmp_path / "s") in after.document["tree"]
    assert before.err == after.err == ""


def test_what_stands_after_the_command_wins(run: Run, server: Server) -> None:
    """But for what names one thing: see test_once."""
    server.add_device("ONE", kernel=KERNEL)
    done = run("--timeout", "0", "pull", "--timeout", "60", "--json")
    assert done.document["serial"] == "ONE"


def test_flags_on_both_sides_exclude_each_other_too(run: Run, server: Server) -> None:
    server.add_device("ONE", kernel=KERNEL)
    done = run("-s", "ONE", "pull", "-d")
    assert done.code == 2
    assert "exclude each other" in done.err


def test_variables(
    run: Run, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.add_device("ONE", kernel=KERNEL)
    server.add_device("TWO", kernel=OTHER)
    monkeypatch.setenv("ANDROID_SERIAL", "TWO")
    monkeypatch.setenv("KHEADERS_ADB_STORE", str(tmp_path / "named"))
    document = run("pull", "--json").document
    assert document["serial"] == "TWO"
    assert document["tree"].startswith(str(tmp_path / "named"))
    assert run("pull", "-s", "ONE", "--json").document["serial"] == "ONE"


# --- devices


def test_devices(run: Run, server: Server) -> None:
    server.add_device("BUILTIN", kernel=KERNEL)
    server.add_device("MODULE", kernel=OTHER, headers=Headers.MODULE, usb=False)
    server.add_device("NONE", kernel=OTHER, headers=Headers.ABSENT, uid=2000, debuggable=False)
    server.add_device("SHY", state=State.UNAUTHORIZED)
    server.add_device("OLD", kernel=OTHER, features=("cmd",))
    server.add_device("ODD", features_failure="not today")
    assert run("pull", "-s", "BUILTIN").code == 0
    done = run("devices")
    assert done.code == 0
    check_golden("devices.txt", f"{done.out}--- stderr\n{done.err}")
    rows = {row["serial"]: row for row in run("devices", "--json").document["devices"]}
    key = rows["BUILTIN"]["kernel"]
    assert re.fullmatch("[0-9a-f]{64}", key)
    assert run("path", key[:8]).code == 0
    assert (rows["BUILTIN"]["staged"], rows["MODULE"]["staged"]) == (True, False)
    assert rows["NONE"]["root"] is False
    assert rows["SHY"]["state"] == "unauthorized"
    assert rows["OLD"]["error"] is None
    assert "not today" in rows["ODD"]["error"]


def test_devices_that_are_asked_for(
    run: Run, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add_device("ONE", kernel=KERNEL)
    two = server.add_device("10.0.0.2:5555", kernel=KERNEL, usb=False)
    server.add_device("SHY", state=State.UNAUTHORIZED)

    def listed(*flags: str) -> list[str]:
        done = run("devices", *flags, "--json")
        assert done.code == 0, done.err
        return [row["serial"] for row in done.document["devices"]]

    for flags, serials in (
        (("-s", "ONE"), ["ONE"]),
        (("-s", "10.0.0.2"), ["10.0.0.2:5555"]),
        (("-s", "SHY"), ["SHY"]),
        (("-d",), ["ONE", "SHY"]),
        (("-e",), ["10.0.0.2:5555"]),
        (("-t", f"{two.transport_id}"), ["10.0.0.2:5555"]),
    ):
        assert listed(*flags) == serials
    assert "SHY" not in run("devices", "-s", "ONE").out
    for flags in (("-s", "NIX"), ("-t", "99")):
        done, pulled = run("devices", *flags), run("pull", *flags)
        assert (done.code, done.out, done.err) == (3, "", pulled.err)
        assert "was asked for, connected are" in done.err
    assert run("devices", "-s", "NIX", "--json").document["error"]["exit_code"] == 3
    assert run("devices", "-s", "ONE", "-d").code == 2
    # One looks here for what to put into it.
    monkeypatch.setenv("ANDROID_SERIAL", "ONE")
    assert listed() == ["ONE", "10.0.0.2:5555", "SHY"]
    assert listed("-e") == ["10.0.0.2:5555"]


def test_no_devices(run: Run, server: Server) -> None:
    done = run("devices")
    assert (done.code, done.out) == (0, "")
    assert "no devices" in done.err
    assert run("devices", "--json").document["devices"] == []


def test_a_hostile_release_cannot_act_on_the_terminal(run: Run, server: Server) -> None:
    hostile = Kernel(headers=2, release="6.1.0-\x1b]0;owned\x07")
    server.add_device("PHONE", kernel=hostile, headers=Headers.ABSENT)
    for command in ("devices", "pull"):
        done = run(command)
        assert "\x1b" not in done.out + done.err
        assert "6.1.0-\\x1b]0;owned\\x07" in done.out + done.err


# --- the store


@pytest.mark.usefixtures("staged")
def test_list(run: Run, server: Server, store_path: Path) -> None:
    server.add_device("SECOND", kernel=OTHER)
    run("pull", "-s", "SECOND")
    done = run("list")
    assert done.code == 0
    check_golden("list.txt", steady(f"{done.out}--- stderr\n{done.err}", store_path))
    assert run("list", "-q").err == ""
    kernels = run("list", "--json").document["kernels"]
    assert [kernel["serial"] for kernel in kernels] == ["SECOND", "PHONE"]


def test_an_empty_store(run: Run) -> None:
    done = run("list")
    assert (done.code, done.out) == (0, "")
    assert "kheaders-adb pull" in done.err
    assert run("list", "-q").err == ""
    assert run("list", "--json").document["kernels"] == []
    for command in ("path", "show"):
        assert run(command).code == 2


@pytest.mark.usefixtures("staged")
def test_show(run: Run, store_path: Path) -> None:
    done = run("show")
    assert (done.code, done.err) == (0, "")
    check_golden("show.txt", steady(done.out, store_path))
    document = run("show", "--json").document
    assert document["kernel"]["release"] == KERNEL.release


def test_path_by_every_name_of_a_kernel(run: Run, staged: Done) -> None:
    key = KernelIdentity(
        KERNEL.release,
        KERNEL.version,
        KERNEL.machine,
        KERNEL.banner,
        KERNEL.build_id,
        run("show", "--json").document["kernel"]["config_sha256"],
    ).key
    for name in ((), ("latest",), (KERNEL.release,), ("@PHONE",), (key,), (key[:6],)):
        assert run("path", *name) == Done(0, staged.out, "")
    assert run("path", "--json").document == {
        "schema": 1,
        "kernel": {"key": key},
        "tree": staged.out.rstrip("\n"),
    }


def test_remove(run: Run, staged: Done) -> None:
    key = run("show", "--json").document["kernel"]["key"]
    mistyped = run("remove", "latest", "no-such-kernel")
    assert mistyped.code == 2
    assert run("path").code == 0, "a typing error removes nothing"
    done = run("remove", "latest", "@PHONE")
    freed = re.fullmatch(
        re.escape(f"removed {KERNEL.release} ({key[:12]}): ") + r"\d+ KiB freed\n", done.err
    )
    assert (done.code, done.out, bool(freed)) == (0, "", True), done.err
    assert not Path(staged.out.rstrip("\n")).exists()
    assert run("path").code == 2


def test_paths_and_locales_that_do_not_fit_each_other(
    run: Run, server: Server, store_path: Path
) -> None:
    """A path need not be text; the arrows of `doctor` are not in every character set."""
    server.add_device("PHONE", kernel=KERNEL)
    store = store_path.parent / "\udcff"
    tree = run("pull", "--store", store, "--json").document["tree"]
    assert tree.startswith(str(store))
    command = [sys.executable, "-m", "kheaders_adb"]
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    path = subprocess.Popen(
        [*command, "path", "--store", store],
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        **options,
    )
    doctor = subprocess.Popen(
        [*command, "doctor"], env={**os.environ, "PYTHONIOENCODING": "latin-1"}, **options
    )
    assert path.communicate(timeout=60) == (os.fsencode(tree) + b"\n", b"")
    out, err = doctor.communicate(timeout=60)
    assert err == b""
    assert rb"\u2192 install clang" in out


# --- env


@pytest.mark.usefixtures("staged")
def test_env_in_each_syntax(run: Run, store_path: Path) -> None:
    text = ""
    for words in (
        *(("--shell", shell) for shell in ("sh", "bash", "fish", "pwsh", "dotenv", "json")),
        *(("--unset", "--shell", shell) for shell in ("zsh", "fish", "pwsh", "dotenv", "json")),
        ("--unset", "--json"),
        ("--shell", "tcsh"),
    ):
        done = run("env", "-q", *words)
        assert done.code == (2 if words[-1] in ("tcsh", "dotenv") and done.err else 0), done.err
        text += f"$ kheaders-adb env {' '.join(words)}\n{done.out}{done.err}"
    check_golden("env.txt", steady(text, store_path))


def test_variables_are_removed_whatever_is_staged(run: Run) -> None:
    assert run("env").code == 2
    done = run("env", "--unset", "--shell", "dash")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("unset KHEADERS_DIR;\n")


def test_env_refuses_a_store_that_dotenv_cannot_name(
    run: Run, server: Server, store_path: Path
) -> None:
    server.add_device("PHONE", kernel=KERNEL)
    store = store_path.parent / "a b"
    assert run("pull", "--store", store).code == 0
    done = run("env", "--store", store, "--shell", "dotenv")
    assert (done.code, done.out) == (2, "")
    assert "the value of KHEADERS_DIR holds ' ', which not all readers" in done.err
    for shell in ("sh", "fish", "pwsh", "json"):
        assert str(store) in run("env", "--store", store, "--shell", shell).out


# --- doctor


def test_doctor_when_all_is_well(run: Run, server: Server, store_path: Path) -> None:
    server.add_device("PHONE", kernel=KERNEL)
    server.add_device("CLOSED", state=State.NO_PERMISSIONS)
    done = run("doctor")
    assert (done.code, done.err) == (0, "")
    check_golden("doctor.txt", steady(done.out, store_path))
    document = run("doctor", "--json").document
    assert document["ok"] is True
    assert {item["name"] for item in document["findings"]} == {
        "adb server",
        "device",
        "store",
        "clang",
    }


def test_doctor_without_a_server(run: Run, tmp_path: Path) -> None:
    done = run("doctor")
    assert done.code == 3
    assert f"fail  adb server  nothing listens at localfilesystem:{tmp_path / 'adb'}\n" in done.out
    assert "→ start a server with `adb start-server`" in done.out
    document = run("doctor", "--json")
    assert document.code == 3
    assert document.document["ok"] is False


def test_doctor_starts_no_server_and_pull_says_that_it_does(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = tmp_path / "an-adb"
    binary.write_text("#!/bin/sh\nexit 1\n")
    binary.chmod(0o755)
    monkeypatch.setenv("ADBUTILS_ADB_PATH", str(binary))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        looked, pulled = run("doctor", "-P", port), run("pull", "-P", port)
        quiet = run("pull", "-q", "-P", port)
    assert (looked.code, looked.err) == (0, "")
    assert "warn  adb server  none at " in looked.out
    assert f"pull would start {binary}\n" in looked.out
    said = f"no adb server listens at tcp:localhost:{port}; starting {binary} there\n"
    assert pulled.code == 3
    assert said in pulled.err
    assert said not in quiet.err


def test_doctor_without_a_store(run: Run, server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    done = run("doctor", "--store", tmp_path / "file" / "store")
    assert done.code == 8
    assert "fail  store" in done.out


@pytest.mark.skipif(shutil.which("clang") is None, reason="clang is not installed")
def test_doctor_finds_clang(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLANG")
    assert re.search(r"(?m)^(ok|warn)  +clang  ", run("doctor").out)


def test_verify_names_the_other_trees_that_share_a_damaged_file(run: Run, store_path: Path) -> None:
    """Written into, not replaced: then each tree that shares the file is hit, asked about or not."""
    store = Store.open(store_path)
    first, second = stage(store, 0, variant=0), stage(store, 1, variant=1)
    name = "include/part4/header4.h"
    damaged = store.tree_path(first.tree) / name
    damaged.chmod(0o644)
    damaged.write_bytes(b"X" * damaged.stat().st_size)
    done = run("verify", first.key)
    assert done.code == 8
    assert f"{name}: its content has changed" in done.out
    assert f"the same file in {second.tree}/{name}" in done.out
    (problem,) = run("verify", first.key, "--json").document["problems"]
    assert problem["also_in"] == [f"{second.tree}/{name}"]
