"""Pulls under faults, each in a process that counts its own descriptors and threads before and after."""

from __future__ import annotations

import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from kheaders_adb.errors import KheadersError

from .client import pull, store_problems
from .devices import Device, Headers, State
from .faults import Action, Direction, wait_until
from .kernel import Kernel
from .server import SCRATCH, Server

OVERTIME_S = 2.0
"""How long after its deadline a pull may still run: the time to see that the device cleaned up."""

_GRACE_S = 6.0  # on top, for a busy machine: the watchdog finds hangs, it is no stopwatch
_FOREIGN = -1
_VOID = "never came to pass"


@dataclass(frozen=True, slots=True)
class FaultAt:
    """A fault that can be sent to another process; ``call`` is the name of one of `_CALLS`."""

    action: Action
    service: str
    offset: int = 0
    direction: Direction = Direction.OUT
    marker: bytes = b""
    nth: int = 1
    repeat: bool = False
    pause_s: float = 0.2
    data: bytes = b""
    call: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One pull under faults.

    Attributes:
        name: unique.
        faults: what goes wrong.
        allowed: the exit codes that are right; 0 only with the right bytes.
        device: options of the device.
        timeout_s: the pull's deadline.
        push_module: bring kheaders.ko along.
        must_fire: whether the test is void unless every fault came to pass.
        then_works: afterwards a pull without faults must succeed.
        before: the name of one of `_CALLS`, run before the pull.
        serial: the device asked for; None: none named.
        says: what the error's text must contain.
    """

    name: str
    faults: tuple[FaultAt, ...]
    allowed: frozenset[int]
    device: dict[str, Any] = field(default_factory=dict)
    timeout_s: float = 15.0
    push_module: bool = False
    must_fire: bool = True
    then_works: bool = False
    before: str = ""
    serial: str | None = "FAKE0001"
    says: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """How a case went; ``problems`` is empty if it went right."""

    case: str
    exit_code: int
    error: str
    over_s: float
    problems: tuple[str, ...]


def _flap(server: Server, device: Device) -> None:
    device.state = State.OFFLINE

    def back() -> None:
        time.sleep(0.2)
        device.state = State.DEVICE

    threading.Thread(target=back).start()


def _go_offline(server: Server, device: Device) -> None:
    device.state = State.OFFLINE


def _restart_server(server: Server, device: Device) -> None:
    server.stop()
    server.start()


def _swap_kernel(server: Server, device: Device) -> None:
    # The same release and version, as every unstamped local build has them.
    device.reboot(Kernel(seed=99), same_transport=True)


_CALLS: dict[str, Callable[[Server, Device], None]] = {
    "flap": _flap,
    "offline": _go_offline,
    "unplug": lambda server, device: device.unplug(),
    "kill server": lambda server, device: server.stop(),
    "restart server": _restart_server,
    "reboot": lambda server, device: device.reboot(),
    "reboot behind a relay": lambda server, device: device.reboot(same_transport=True),
    "swap kernel": _swap_kernel,
    "twin": lambda server, device: void(server.add_device(device.serial)),
    "other": lambda server, device: void(server.add_device("OTHER")),
    "old server": lambda server, device: setattr(server, "version", 39),
    "new server": lambda server, device: setattr(server, "version", 42),
    "full disk": lambda server, device: device.limit_files(100),
    "no root any more": lambda server, device: device.restart_adbd(2000),
}
_REBOOTS = frozenset({"reboot", "reboot behind a relay", "swap kernel"})


def void(_: object) -> None:
    """Nothing, of something."""


def run_case(case: Case) -> Report:
    """Run one case in this process; again with more time if a busy machine never got to its faults."""
    report = _run_case(case)
    if case.timeout_s < 10 and any(problem.startswith(_VOID) for problem in report.problems):
        return _run_case(replace(case, timeout_s=6 * case.timeout_s))
    return report


def _run_case(case: Case) -> Report:
    baseline = (_descriptors(), threading.active_count())
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="wire-", dir=SCRATCH) as scratch:
        code, error, over_s = _pull_under_faults(case, Path(scratch), problems)
    if not wait_until(
        lambda: _descriptors() <= baseline[0] and threading.active_count() <= baseline[1]
    ):
        now = (_descriptors(), threading.active_count())
        problems.append(f"descriptors and threads: {baseline} before, {now} after")
    return Report(case.name, code, error, over_s, tuple(problems))


def _pull_under_faults(case: Case, scratch: Path, problems: list[str]) -> tuple[int, str, float]:
    store = scratch / "store"
    module = scratch / "kheaders.ko" if case.push_module else None
    with Server() as server:
        device = server.add_device(**case.device)
        archives = {device.kernel.archive_sha256: device.kernel.archive}
        if module is not None:
            module.write_bytes(device.kernel.module)
        if case.before:
            _CALLS[case.before](server, device)
        armed = [_arm(server, device, fault) for fault in case.faults]
        port = server.port

        def pull_once(timeout_s: float) -> str:
            staged = pull(port, store, serial=case.serial, timeout_s=timeout_s, module=module)
            return staged.archive.sha256

        started = time.monotonic()
        patience_s = case.timeout_s + OVERTIME_S + _GRACE_S
        code, error, sha256 = _watched(lambda: pull_once(case.timeout_s), patience_s, problems)
        over_s = time.monotonic() - started - case.timeout_s
        if code not in case.allowed:
            problems.append(f"exit code {code} is none of {sorted(case.allowed)}: {error}")
        if case.says not in error:
            problems.append(f"the error does not say {case.says!r}: {error}")
        if sha256 not in ("", *archives):
            problems.append(f"success with wrong bytes, sha256 {sha256}")
        if case.must_fire:
            problems += [f"{_VOID}: {fault}" for fault in armed if not fault.fired]
        server.plan.clear()
        server.plan.released.set()
        for fault in armed:
            if fault.action is Action.CALL:
                wait_until(lambda fault=fault: fault.done == fault.fired)  # type: ignore[misc]
        # A reboot kills the script that would have cleaned up: that is then the next pull's to do.
        rebooted = any(fault.call in _REBOOTS for fault in case.faults)
        if not (rebooted and case.then_works):
            _check_device(device, problems)
        problems += store_problems(store, archives)
        if case.then_works:
            if not server.running:
                server.start()
            device.present = True
            device.state = State.DEVICE
            archives[device.kernel.archive_sha256] = device.kernel.archive
            code_2, error_2, sha256_2 = _watched(lambda: pull_once(20.0), 30.0, problems)
            if code_2 != 0 or sha256_2 != device.kernel.archive_sha256:
                problems.append(f"the next pull ended with {code_2} {sha256_2}: {error_2}")
            _check_device(device, problems)
            problems += store_problems(store, archives)
    return code, error, over_s


def _arm(server: Server, device: Device, fault: FaultAt) -> Any:
    call = _CALLS.get(fault.call)
    return server.inject(
        fault.action,
        fault.service,
        fault.offset,
        direction=fault.direction,
        marker=fault.marker,
        nth=fault.nth,
        repeat=fault.repeat,
        pause_s=fault.pause_s,
        data=fault.data,
        call=None if call is None else lambda: call(server, device),
    )


def _watched(
    work: Callable[[], str], patience_s: float, problems: list[str]
) -> tuple[int, str, str]:
    """Run ``work`` in a thread; exit code as the command line would give it, error's text, result."""
    outcome: list[tuple[int, str, str]] = []

    def body() -> None:
        try:
            outcome.append((0, "", work()))
        except KheadersError as error:
            outcome.append((error.exit_code, str(error), ""))
        except BaseException:
            outcome.append((_FOREIGN, traceback.format_exc(), ""))

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join(patience_s)
    if not outcome:
        frame = sys._current_frames().get(thread.ident or 0)
        where = "".join(traceback.format_stack(frame)) if frame else ""
        problems.append(f"still running after {patience_s} s:\n{where}")
        return _FOREIGN, "hang", ""
    return outcome[0]


def _check_device(device: Device, problems: list[str]) -> None:
    """Nothing of ours is left on the device, once its own scripts had the time to clean up."""
    if device.headers not in (Headers.MODULE, Headers.ABSENT):
        return
    if not wait_until(lambda: "kheaders " not in device.loaded_modules):
        problems.append("kheaders is still loaded")
    if not wait_until(lambda: not device.leftovers()):
        problems.append(f"left in /data/local/tmp: {device.leftovers()}")


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _warm_up() -> None:
    # Modules imported lazily at a first pull are no leak.
    run_case(Case("warm-up", (), frozenset({0})))


def start_workers(count: int) -> ProcessPoolExecutor:
    """Processes for `run_case`; more than there are processors, as cases mostly wait."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return ProcessPoolExecutor(count, mp_context=context, initializer=_warm_up)
