"""What a user may call a kernel: the KERNEL argument of the commands."""

from __future__ import annotations

import re

from kheaders_adb.errors import UsageError
from kheaders_adb.store import paths, turns
from kheaders_adb.store.lookup import Lookup
from kheaders_adb.store.records import KernelRecord

_CHOOSING = "choosing the kernel"
_KEY_PREFIX = re.compile(r"[0-9a-f]{4,64}")
_VERSION = re.compile(r"[0-9.]*[0-9]")
_WHOLE_KEY = "give a whole key: {}"
#: How many candidates an error names.
_MAX_NAMED = 8


def resolve(store: Lookup, text: str) -> KernelRecord:
    """The kernel that a user means.

    Args:
        store: the store.
        text: ``latest`` (the one last staged or found for a device; if there is none, imported), ``@SERIAL``
            (the one that this device was last seen running), a release or the beginning of one if only one
            kernel has it, or at least 4 digits of a key.  A whole key always means that kernel, and a
            number is never cut: 6.1 is not 6.12.  Devices choose their releases, so that what may be the
            beginning of a key never means a kernel by its release, and one that is also the beginning of
            another one means neither.

    Raises:
        UsageError: none or several are meant; the message lists them.
        StoreError: the disk failed, or the record of the one that is meant is broken.
    """
    if text.startswith("@"):
        return _resolve_device(store, text[1:])
    if paths.SHA256.fullmatch(text) is not None:
        record = store.read_kernel(store.kernel_path(text))
        if record is not None:
            return record
    records = store.records()
    if not records:
        raise UsageError(
            f"no kernel is staged in {store.root}",
            step=_CHOOSING,
            hint="run `kheaders-adb pull` first",
        )
    if text == "latest":
        return _latest(store, records)
    is_prefix = _KEY_PREFIX.fullmatch(text) is not None
    whole = [record for record in records if record.identity.release == text]
    by_key = [record for record in records if is_prefix and record.key.startswith(text)]
    by_release = whole
    if not is_prefix:
        by_release = whole + [
            record for record in records if _begins(record.identity.release, text)
        ]
    fitting = list({record.key: record for record in by_release + by_key}.values())
    of_another_kind = is_prefix and bool(by_release) and not by_key
    if len(fitting) == 1 and not of_another_kind:
        return fitting[0]
    from kheaders_adb.store import meant  # only for a mistake

    if of_another_kind:
        raise UsageError(
            f"no key begins with {text!r}; as a release it is that of:{meant.rows(by_release)}",
            candidates=meant.candidates(by_release),
            step=_CHOOSING,
            hint=_WHOLE_KEY.format(" or ".join(record.key for record in fitting[:_MAX_NAMED])),
        )
    if by_release and by_key:
        raise UsageError(
            f"{text!r} means {len(fitting)} kernels, as a release:{meant.rows(by_release)}\n"
            f"  and as the beginning of a key:{meant.rows(by_key)}",
            candidates=meant.candidates(fitting),
            step=_CHOOSING,
            hint=_WHOLE_KEY.format(" or ".join(record.key for record in fitting[:_MAX_NAMED])),
        )
    if fitting:
        raise UsageError(
            f"{text!r} means {len(fitting)} kernels:{meant.rows(fitting)}",
            candidates=meant.candidates(fitting),
            step=_CHOOSING,
            hint="give more of the release, or some digits of the key"
            if not whole and len({record.identity.release for record in fitting}) > 1
            else f"give its key, as in {fitting[0].key[:12]}, or @SERIAL of a device that runs it",
        )
    near = meant.nearest(records, text)
    raise UsageError(
        f"no staged kernel is called {text!r}; there are:{meant.rows(records)}",
        candidates=meant.candidates(records),
        step=_CHOOSING,
        hint=f"did you mean {near!r}?"
        if near
        else "give a key (4 digits or more), a release or its beginning, @SERIAL or `latest`",
    )


def last_seen_on(store: Lookup, record: KernelRecord) -> str | None:
    """The device that was last seen running a kernel; else the one that it was staged for, if any.

    Raises:
        StoreError: the disk failed.
    """
    seen = [
        (device.seen_at or 0.0, device.serial)
        for device in store.devices()
        if device.kernel == record.key and device.tree in (None, record.tree)
    ]
    return max(seen)[1] if seen else record.serial


def _latest(store: Lookup, records: list[KernelRecord]) -> KernelRecord:
    numbers = turns.order(store)
    noted = [record for record in records if record.key in numbers]
    if noted:
        return max(noted, key=lambda record: (numbers[record.key], record.staged_at, record.key))
    # Older versions noted only when a kernel was staged, and when each device was last seen.
    last, last_at = records[0], records[0].staged_at
    for device in store.devices():
        if device.seen_at is not None and device.seen_at > last_at:
            record = store.running(device)
            if record is not None:
                last, last_at = record, device.seen_at
    return last


def _begins(release: str, text: str) -> bool:
    """Whether a release begins with `text`, and that ends between two of its numbers."""
    if not text or release == text or not release.startswith(text):
        return False
    return not (_VERSION.fullmatch(text) and release[len(text)].isdigit())


def _resolve_device(store: Lookup, serial: str) -> KernelRecord:
    device = store.device(serial)
    if device is not None:
        # Read once: others stage and remove meanwhile.
        record = store.read_kernel(store.kernel_path(device.kernel))
        if record is not None and device.has(record):
            return record
        raise UsageError(
            f"nothing is staged for the kernel that {serial!r} was last seen running"
            if record is None
            else f"what is staged for the kernel of {serial!r} now is not what was staged for that device: "
            "another one says the same of itself",
            step=_CHOOSING,
            device=serial,
            hint="run `kheaders-adb pull -s SERIAL` first",
        )
    known = ", ".join(f"@{device.serial}" for device in store.devices()[:_MAX_NAMED]) or "none"
    raise UsageError(
        f"no kernel is staged for the device {serial!r}; the devices known are: {known}",
        step=_CHOOSING,
        device=serial or None,
        hint="run `kheaders-adb pull -s SERIAL` first",
    )
