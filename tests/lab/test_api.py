"""The Python API on a booted kernel, as a program uses it that has its devices from adbutils."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from fixtures.lab import Device
from tests.lab.cli import TIMEOUT_S, User
from tests.lab.test_ebpf import PROGRAMS, pids

PROGRAM = """
import sys
import adbutils
import kheaders_adb

port, serial, store, source = sys.argv[1:]
client = adbutils.AdbClient(port=int(port))
staged = kheaders_adb.ensure(client.device(serial), store=store)
print(staged.serial, staged.kernel.release, staged.verdict.level)
print(staged.compile(source))
print(kheaders_adb.Store(store).find().verdict == staged.verdict)
"""


def test_a_program_with_adbutils_own_device_and_another_server(
    boot: Callable[..., Device], tmp_path: Path
) -> None:
    device = boot("x86_64-builtin")
    source = shutil.copy(PROGRAMS / "task_pid.bpf.c", tmp_path)
    store = tmp_path / "store"
    # What the environment says is of no account: the device brings its server.
    misleading = {"ANDROID_SERIAL": "NOBODY", "ANDROID_ADB_SERVER_PORT": "1"}
    arguments = [str(device.adb_server_port), device.serial, str(store), str(source)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=os.environ | misleading,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert (done.returncode, done.stderr) == (0, "")
    said, made, agrees = done.stdout.splitlines()
    assert said == f"{device.serial} {device.kernel.release} exact"
    assert agrees == "True"
    pid, read_pid, read_tgid = pids(device, Path(made))
    assert (read_pid, read_tgid) == (pid, pid)
    assert User(device, store).traces() == ""
