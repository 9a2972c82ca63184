"""What the store remembers of a kernel and of a device, and its form on disk.

The files are JSON.  They are read strictly: whatever does not fit is a :class:`StoreError`, which the
store treats as if the file were not there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from kheaders_adb.errors import StoreError
from kheaders_adb.model import (
    Archive,
    Check,
    CheckStatus,
    HeaderSource,
    KernelIdentity,
    Level,
    OmittedLink,
    SourceKind,
    SymbolDifference,
    Verdict,
)
from kheaders_adb.store.paths import SHA256, TREE
from kheaders_adb.store.strict_json import Fields

RULES = 2
"""The version of the rules by which archives are read and matched; what older ones judged is judged again."""

_STEP = "reading a record of the store"
_HISTORY = 32
#: How many of the links that were left out are listed.  Real archives have two; a hostile one has 65,536.
MAX_OMITTED_LISTED = 100


@dataclass(frozen=True, slots=True)
class KernelRecord:
    """One kernel whose headers are in the store.

    Attributes:
        identity: what the kernel said of itself.
        verdict: the judgement under which its headers were staged.
        source: where the archive was read from.
        archive: the archive's digest, size and member count.
        tree: the name of the tree: the archive's sha256, or one that says "-repaired-".
        tool_version: the version of this package that staged it.
        serial: the device that it was last staged for, or None for an imported archive.
        staged_at: when, in seconds since the epoch.
        rules: the version of the rules by which it was judged; 1 in records that do not say it.
        module_sha256: of the kheaders.ko that the archive was in, as a file that was read and taken apart
            here; None if there was none.
        vermagic: that module's.
        last_used_at: when it was last found again; filled in when read, not part of the file.
    """

    identity: KernelIdentity
    verdict: Verdict
    source: HeaderSource
    archive: Archive
    tree: str
    tool_version: str
    serial: str | None
    staged_at: float
    rules: int = RULES
    module_sha256: str | None = None
    vermagic: str | None = None
    last_used_at: float | None = None

    @property
    def key(self) -> str:
        """The kernel's key, from its identity."""
        return self.identity.key


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """What a device was last seen running.

    Attributes:
        serial: the device's serial.
        boot_id: the boot in which it was seen, or None if that could not be read.
        kernel: the key of the kernel that it ran.
        history: the keys of the kernels that were staged for it, the newest first, ``kernel`` among them.
        archive: the sha256 of the archive that was staged for it in this boot, or that it has by its own
            word, given in this boot; None if nobody asked.
        tree: the tree that was last staged or found for it; empty where none was for the kernel that it
            runs, None where older versions did not note it.
        seen_at: when that was, in seconds since the epoch; filled in when read, not part of the file.
    """

    serial: str
    boot_id: str | None
    kernel: str
    history: tuple[str, ...] = ()
    archive: str | None = None
    tree: str | None = None
    seen_at: float | None = None

    def has(self, record: KernelRecord) -> bool:
        """Whether a kernel's record, as it is now, is of what was staged or found for this device."""
        return self.tree in (None, record.tree)

    def now_running(
        self,
        kernel: str,
        boot_id: str | None,
        archive: str | None = None,
        tree: str | None = None,
    ) -> DeviceRecord:
        """The same device, seen running ``kernel``; `archive` if that was looked at now."""
        if archive is None and (self.kernel, self.boot_id) == (kernel, boot_id) and boot_id:
            archive = self.archive
        older = tuple(key for key in self.history if key != kernel)
        return DeviceRecord(
            self.serial, boot_id, kernel, (kernel, *older)[:_HISTORY], archive, tree
        )


def kernel_to_json(record: KernelRecord) -> bytes:
    """The file of a kernel."""
    identity, verdict = record.identity, record.verdict
    return _dump(
        {
            "key": record.key,
            "identity": {
                "release": identity.release,
                "version": identity.version,
                "machine": identity.machine,
                "banner": identity.banner,
                "build_id": identity.build_id,
                "config_sha256": identity.config_sha256,
                "boot_id": identity.boot_id,
            },
            "verdict": {
                "level": verdict.level.value,
                "checks": checks_to_json(verdict),
                "differences": [[d.symbol, d.kernel, d.archive] for d in verdict.differences],
            },
            "source": {"kind": record.source.kind.value, "path": record.source.path},
            "archive": archive_to_json(record.archive),
            "tree": record.tree,
            "tool_version": record.tool_version,
            "rules": record.rules,
            "module_sha256": record.module_sha256,
            "vermagic": record.vermagic,
            "serial": record.serial,
            "staged_at": record.staged_at,
        }
    )


def checks_to_json(verdict: Verdict) -> list[dict[str, str | None]]:
    """A verdict's checks as JSON, in a record as in what ``--json`` prints."""
    return [
        {
            "name": check.name,
            "status": check.status.value,
            "expected": check.expected,
            "found": check.found,
            "note": check.note,
        }
        for check in verdict.checks
    ]


def kernel_from_json(text: bytes, *, last_used_at: float | None = None) -> KernelRecord:
    """A kernel from its file.

    Args:
        text: the file's content.
        last_used_at: when the kernel was last found again, which the file does not say.

    Raises:
        StoreError: the content is not what :func:`kernel_to_json` writes.
    """
    top = Fields.parse(text)
    identity = top.fields("identity")
    verdict = top.fields("verdict")
    source = top.fields("source")
    record = KernelRecord(
        identity=KernelIdentity(
            release=identity.string("release"),
            version=identity.string("version"),
            machine=identity.string("machine"),
            banner=identity.optional("banner"),
            build_id=identity.optional("build_id"),
            config_sha256=identity.optional("config_sha256"),
            boot_id=identity.optional("boot_id"),
        ),
        verdict=Verdict(
            level=verdict.choice("level", Level),
            checks=verdict.each("checks", _check_from_json),
            differences=verdict.each("differences", _difference_from_json),
        ),
        source=HeaderSource(source.choice("kind", SourceKind), source.string("path")),
        archive=archive_from_json(top.fields("archive")),
        tree=top.string("tree"),
        tool_version=top.string("tool_version"),
        rules=top.integer("rules") if top.has("rules") else 1,
        module_sha256=top.optional_or_absent("module_sha256"),
        vermagic=top.optional_or_absent("vermagic"),
        serial=top.optional("serial"),
        staged_at=top.number("staged_at"),
        last_used_at=last_used_at,
    )
    if top.string("key") != record.key:
        raise StoreError("the key does not belong to the identity", step=_STEP)
    if TREE.fullmatch(record.tree) is None or not record.tree.startswith(record.archive.sha256):
        raise StoreError("the tree does not belong to the archive", step=_STEP)
    return record


def device_to_json(record: DeviceRecord) -> bytes:
    """The file of a device."""
    return _dump(
        {
            "serial": record.serial,
            "boot_id": record.boot_id,
            "kernel": record.kernel,
            "history": list(record.history),
            "archive": record.archive,
            "tree": record.tree,
        }
    )


def device_from_json(text: bytes, seen_at: float | None = None) -> DeviceRecord:
    """A device from its file, which was last written or touched at `seen_at`.

    Raises:
        StoreError: the content is not what :func:`device_to_json` writes.
    """
    top = Fields.parse(text)
    return DeviceRecord(
        serial=top.string("serial"),
        boot_id=top.optional("boot_id"),
        kernel=_require_sha256(top.string("kernel")),
        history=top.each("history", lambda item: _require_sha256(_require_string(item))),
        archive=top.optional_or_absent("archive"),
        tree=top.optional_or_absent("tree"),
        seen_at=seen_at,
    )


def archive_to_json(archive: Archive) -> dict[str, object]:
    """What is known of an archive as JSON, in a record as in what ``--json`` prints."""
    return {
        "sha256": archive.sha256,
        "size_bytes": archive.size_bytes,
        "members": archive.members,
        "omitted": [
            {"path": link.path, "target": link.target, "reason": link.reason}
            for link in archive.omitted
        ],
        "omitted_count": archive.omitted_count,
    }


def archive_from_json(fields: Fields) -> Archive:
    """An archive from JSON.

    A record without the list is of a time when an archive with such a link was refused.

    Raises:
        StoreError: a field is missing or not what it must be.
    """
    omitted: tuple[OmittedLink, ...] = ()
    omitted_count = 0
    if fields.has("omitted"):
        omitted = fields.each("omitted", _omitted_from_json)
        omitted_count = fields.integer("omitted_count")
        if not len(omitted) <= omitted_count or len(omitted) > MAX_OMITTED_LISTED:
            raise StoreError("the links left out and their number disagree", step=_STEP)
    return Archive(
        _require_sha256(fields.string("sha256")),
        fields.integer("size_bytes"),
        fields.integer("members"),
        omitted,
        omitted_count,
    )


def _omitted_from_json(item: object) -> OmittedLink:
    fields = Fields.of(item)
    return OmittedLink(fields.string("path"), fields.string("target"), fields.string("reason"))


def _check_from_json(item: object) -> Check:
    fields = Fields.of(item)
    return Check(
        fields.string("name"),
        fields.choice("status", CheckStatus),
        fields.optional("expected"),
        fields.optional("found"),
        fields.optional("note"),
    )


def _difference_from_json(item: object) -> SymbolDifference:
    match item:
        case [str(symbol), str() | None as kernel, str() | None as archive]:
            return SymbolDifference(symbol, kernel, archive)
    raise StoreError("a configuration difference is not three strings", step=_STEP)


def _require_string(item: object) -> str:
    if not isinstance(item, str):
        raise StoreError(f"a string was expected, not {type(item).__name__}", step=_STEP)
    return item


def _require_sha256(text: str) -> str:
    if SHA256.fullmatch(text) is None:
        raise StoreError(f"{text[:80]!r} is not a sha256", step=_STEP)
    return text


def _dump(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=True).encode("ascii") + b"\n"
