"""The script that reads an archive, ended by a signal: as adbd ends a shell whose host has gone."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import PurePosixPath

import pytest

from kheaders_adb.device.lease import read_script

from .devices import RUNS_AS_UID, Device, Headers
from .faults import wait_until
from .server import Server

WORK = PurePosixPath("/data/local/tmp/kheaders-adb")
MODULE = PurePosixPath("/vendor/lib/modules/kheaders.ko")


def started(device: Device, script: str) -> subprocess.Popen[bytes]:
    """A script as the device's shell runs it."""
    return subprocess.Popen(
        [str(device.shell), "-c", device.translate(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(device.environment()),
        cwd=device.view,
        start_new_session=True,
        umask=-1 if device.umask is None else device.umask,
        user=RUNS_AS_UID if os.geteuid() == 0 else None,
    )


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_signal_unloads_and_cleans_up(server: Server, number: signal.Signals) -> None:
    device = server.add_device(headers=Headers.MODULE)
    script = read_script(run="0123", work=WORK, module=MODULE, beside=True)
    with started(device, script) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"@0123 reading ")
        assert "kheaders " in device.loaded_modules
        assert device.leftovers()
        os.killpg(process.pid, number)
        # As adbd does; a signal that comes just as the shell starts `cat` ends the one and not the other.
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 1
    assert wait_until(lambda: "kheaders " not in device.loaded_modules)
    assert device.leftovers() == []
