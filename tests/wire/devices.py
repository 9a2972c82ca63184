"""Fake devices: what adb sees of each, and what happens to it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .faults import Channel
from .files import DeviceFiles
from .kernel import Kernel
from .tools import OTHER_UID, RUNS_AS_UID, own
from .traits import (
    ARCHIVE_PATH,
    SHELL_V2_FEATURES,
    Adbd,
    AdbdRestart,
    Banner,
    Dialect,
    Disk,
    HangUp,
    Headers,
    InsmodRefusal,
    Late,
    Oversized,
    Packing,
    State,
    Su,
    SuQuirk,
    SyncAccess,
)

__all__ = [
    "ARCHIVE_PATH",
    "OTHER_UID",
    "RUNS_AS_UID",
    "SHELL_V2_FEATURES",
    "Adbd",
    "AdbdRestart",
    "Banner",
    "Device",
    "Dialect",
    "Disk",
    "HangUp",
    "Headers",
    "InsmodRefusal",
    "Late",
    "Oversized",
    "Packing",
    "State",
    "Su",
    "SuQuirk",
    "SyncAccess",
    "own",
]


class Device(DeviceFiles):
    """One fake device.

    Args:
        home: an empty folder of its own.
        serial: its serial number; bytes that are not UTF-8 as `os.fsdecode` gives them.
        next_transport_id: hands out the server's transport ids, one for each (re)connection.
        usb: connected by USB (a devpath), else by TCP.
        model: what it calls itself in listings.
        devpath: where it is plugged in.
        state: its state once it is up.
        comes_up: the states in which each connection is first, and for how many seconds each.
        state_text: what listings say in place of the state.
        features: what the server was told that adbd can.
        features_failure: with which text the server refuses to name them; None: it names them.
        adbd: which adbd answers; None: what the features suggest, Android 5's without ``shell_v2``.
        late: the first answers of each connection, if they come late.
        adbd_restart: how adbd goes and comes back after ``root:`` and ``unroot:``.
        oversized: what becomes of a service that does not fit into adbd's packets.
        sync_access: what the sync service may do.
        on_change: called when what ``adb devices`` shows of it has changed.
        files: the options of `DeviceFiles`.
    """

    def __init__(
        self,
        home: Path,
        *,
        serial: str,
        next_transport_id: Callable[[], int],
        usb: bool = True,
        model: str = "Fake",
        devpath: str = "usb:1-1",
        state: State = State.DEVICE,
        comes_up: tuple[tuple[State, float], ...] = (),
        state_text: str = "",
        features: tuple[str, ...] = SHELL_V2_FEATURES,
        features_failure: str | None = None,
        adbd: Adbd | None = None,
        late: Late | None = None,
        adbd_restart: AdbdRestart = AdbdRestart(),  # noqa: B008 - frozen
        oversized: Oversized = Oversized.SERVER_DIES,
        sync_access: SyncAccess = SyncAccess.AS_ADBD,
        on_change: Callable[[], None] = lambda: None,
        **files: Any,
    ) -> None:
        if adbd is None:
            adbd = Adbd.MODERN if "shell_v2" in features else Adbd.ANDROID_5
        super().__init__(home, adbd=adbd, **files)
        self.serial = serial
        self.usb = usb
        self.model = model
        self.devpath = devpath
        self.comes_up = comes_up
        self.state_text = state_text
        self.features = features
        self.features_failure = features_failure
        self.late = late
        self.adbd_restart = adbd_restart
        self.oversized = oversized
        self.sync_access = sync_access
        self.running: set[int] = set()  # process groups of shells; none of them outlives a reboot
        self._next_transport_id = next_transport_id
        self._state = state
        self._on_change = on_change
        self._channels: set[Channel] = set()
        self._lock = threading.Lock()
        self._life = 0  # counts what happened to it, so that an adbd that was overtaken stays away
        self._restarts: list[threading.Thread] = []
        self._ended = threading.Event()
        self.present = False
        self.transport_id = 0
        self._connect()

    # --- what adb shows

    @property
    def state(self) -> State:
        """Its state."""
        passed_s = time.monotonic() - self._connected_s
        for state, lasts_s in self.comes_up:
            if passed_s < lasts_s:
                return state
            passed_s -= lasts_s
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        self._state = state
        self._connected_s = float("-inf")
        if state is not State.DEVICE:
            self.drop_connections()
        self._on_change()

    # --- what happens to it

    def attach(self, channel: Channel) -> None:
        """A connection talks to this device now."""
        with self._lock:
            self._channels.add(channel)

    def detach(self, channel: Channel) -> None:
        """The connection is over."""
        with self._lock:
            self._channels.discard(channel)

    def drop_connections(self) -> None:
        """End every conversation with this device, as when adbd ends."""
        with self._lock:
            channels = tuple(self._channels)
        for channel in channels:
            channel.abort()

    def hesitate(self, channel: Channel) -> None:
        """Let a service wait, if it is among those that are answered late."""
        with self._lock:
            if self.late is None or self._late_answers >= self.late.answers:
                return
            self._late_answers += 1
        end_s = time.monotonic() + self.late.delay_s
        while time.monotonic() < end_s:
            channel.check_peer()
            time.sleep(0.02)

    def reboot(
        self, kernel: Kernel | None = None, *, down_s: float = 0.0, same_transport: bool = False
    ) -> None:
        """Start again, with another kernel if given; conversations end, nothing stays loaded.

        The device is gone for ``down_s`` and comes back under a new boot_id, and under a new transport id
        unless a relay in between hid its absence (``same_transport``).
        """
        self.present = False
        for group in tuple(self.running):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        self._leave()
        if kernel is not None:
            self.kernel = kernel
        self._boot()
        time.sleep(down_s)
        self._connect(same_transport=same_transport)

    def unplug(self) -> None:
        """The cable is pulled: gone from the list, every conversation ends."""
        self._leave()

    def server_restarted(self, *, same_transport: bool) -> None:
        """Another server found it."""
        if self.present:
            self._connect(same_transport=same_transport)

    def restart_adbd(self, uid: int) -> None:
        """adbd ends and comes back as another user, as `adbd_restart` says; waits until it has ended."""
        how = self.adbd_restart
        has_left = threading.Event()
        thread = threading.Thread(
            target=self._restart_adbd, args=(how, uid, has_left), name="fake-adbd", daemon=True
        )
        self._restarts.append(thread)
        thread.start()
        if not how.lingers_s:
            has_left.wait()

    @property
    def is_settled(self) -> bool:
        """Whether it is there and its adbd is not about to restart."""
        return self.present and not any(thread.is_alive() for thread in self._restarts)

    def end(self) -> None:
        """The test is over: nothing happens to it any more."""
        self._ended.set()
        for thread in self._restarts:
            thread.join()

    def _restart_adbd(self, how: AdbdRestart, uid: int, has_left: threading.Event) -> None:
        life, before = self._life, self._state
        if how.lingers_s:
            if how.lingers_as is not before:
                self.state = how.lingers_as
            if self._ended.wait(how.lingers_s) or self._life != life:
                return
        self._leave()
        has_left.set()
        life, self._state = self._life, before
        if how.returns and not self._ended.wait(how.away_s) and self._life == life:
            if how.changes_user:
                self.uid = uid
            self._connect()

    def _leave(self) -> None:
        self._life += 1
        self.present = False
        self.drop_connections()
        self._on_change()

    def _connect(self, *, same_transport: bool = False) -> None:
        if not same_transport:
            self.transport_id = self._next_transport_id()
        self._connected_s = time.monotonic()
        self._late_answers = 0
        self.present = True
        self._on_change()
