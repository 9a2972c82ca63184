"""Selecting a device and staging its headers: waiting, and trying again what may succeed the second time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from kheaders_adb.adb.deadline import Deadline
from kheaders_adb.adb.select import Selection
from kheaders_adb.adb.server import AdbServer
from kheaders_adb.device.device import Device
from kheaders_adb.errors import (
    AmbiguousDeviceError,
    DeviceError,
    KheadersError,
)
from kheaders_adb.model import Staged
from kheaders_adb.pipeline.ensure import ensure
from kheaders_adb.pipeline.options import Options
from kheaders_adb.steps import StepKind, Steps
from kheaders_adb.store import Store

FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 8.0

T = TypeVar("T")


def ensure_selected(
    server: AdbServer,
    selection: Selection,
    store: Store,
    options: Options,
    *,
    deadline: Deadline,
    wait_s: float = 0.0,
) -> tuple[Staged, Device]:
    """Stage the headers of the kernel that the selected device runs, as patiently as the user wants.

    Args:
        server, selection: which device.
        store: where trees are staged.
        options: how to get the headers.
        deadline: bounds all of it.
        wait_s: for how many seconds new attempts may begin; 0 for one attempt only.

    Returns:
        What is staged, and the device, which still has the rest of the time.

    Raises:
        UsageError: the module that `options` names is none.
        KheadersError: that of the last attempt, as of `ensure` and of selecting a device.
    """

    def find() -> Device:
        return Device.select(server, selection, deadline)

    return ensure_patiently(find, store, options, deadline=deadline, wait_s=wait_s)


def ensure_patiently(
    find: Callable[[], Device],
    store: Store,
    options: Options,
    *,
    deadline: Deadline,
    wait_s: float = 0.0,
) -> tuple[Staged, Device]:
    """As `ensure_selected`, for a device that `find` gives, at each attempt."""
    if options.module is not None:
        from kheaders_adb.archive.pack import require_module

        # Also where it turns out not to be needed: what is given by mistake is not passed over in silence.
        require_module(options.module)

    steps = Steps(options.on_step)

    def attempt() -> tuple[Staged, Device]:
        with steps:
            steps.begin(StepKind.SELECT)
            device = find()
        return ensure(device, store, options), device

    return patiently(attempt, wait_s=wait_s, deadline=deadline, say=options.on_note, steps=steps)


def patiently(
    attempt: Callable[[], T],
    *,
    wait_s: float,
    deadline: Deadline,
    say: Callable[[str], None] | None = None,
    steps: Steps | None = None,
) -> T:
    """Call `attempt` until it succeeds, fails for good, or the patience is over.

    What is waited for: a device that is not there, offline or unauthorized, and a transfer that was lost.
    Nothing is staged by an attempt that failed, so that repeating one is safe.  The pause doubles from half a
    second to eight.

    Args:
        attempt: what to do.
        wait_s: for how many seconds new attempts may begin; 0 for one attempt only.
        deadline: bounds the attempts and the pauses together.
        say: told of each failure and of the pause that follows.
        steps: told of the pauses.

    Raises:
        KheadersError: that of the last attempt.
    """
    patience = deadline.sooner(wait_s)
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return attempt()
        except KheadersError as error:
            if not _may_pass(error) or pause_s >= patience.remaining_s:
                raise
            if say is not None:
                say(f"{error}; trying again in {pause_s:g} s")
        with steps or Steps() as told:
            told.begin(StepKind.WAIT)
            time.sleep(pause_s)
        pause_s = min(2 * pause_s, MAX_PAUSE_S)


def _may_pass(error: KheadersError) -> bool:
    if isinstance(error, DeviceError):
        # Which of several devices is meant does not become clearer with time.
        return not isinstance(error, AmbiguousDeviceError)
    return error.retryable
