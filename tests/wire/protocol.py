"""The framing of adb's protocols: the host protocol, sync, and the shell protocol (v2).

Written from AOSP's packages/modules/adb: docs/dev/services.md, docs/dev/sync.md, file_sync_protocol.h and
shell_protocol.h.  It shares no line with the client under test, so that one misunderstanding cannot
hide in both.
"""

from __future__ import annotations

import enum
import struct

SERVER_VERSION = 41
"""ADB_SERVER_VERSION of every adb since 1.0.41 (2019); clients kill a server of another version."""

MAX_REQUEST_BYTES = 0xFFFF
SYNC_PATH_MAX_BYTES = 1024
SYNC_DATA_MAX_BYTES = 64 * 1024

OKAY = b"OKAY"
FAIL = b"FAIL"


def raw_bytes(text: str) -> bytes:
    """The bytes that `text` stands for; serials and releases need not be UTF-8 (`os.fsdecode`)."""
    return text.encode(errors="surrogateescape")


def counted(payload: bytes) -> bytes:
    """``payload`` behind its length as four hexadecimal digits."""
    return b"%04x" % len(payload) + payload


def fail(text: str) -> bytes:
    """A host protocol failure, as SendFail() writes it (cut to what four digits can count)."""
    return FAIL + counted(raw_bytes(text)[:MAX_REQUEST_BYTES])


class ShellId(enum.IntEnum):
    """Packet kinds of the shell protocol (shell_protocol.h)."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    EXIT = 3
    CLOSE_STDIN = 4
    WINDOW_SIZE_CHANGE = 5


SHELL_HEADER = struct.Struct("<BI")


def shell_packet(kind: ShellId, payload: bytes) -> bytes:
    """One packet of the shell protocol."""
    return SHELL_HEADER.pack(kind, len(payload)) + payload


SYNC_HEADER = struct.Struct("<4sI")
SYNC_STAT_V1 = struct.Struct("<4sIII")  # id, mode, size, mtime
SYNC_STAT_V2 = struct.Struct(
    "<4sIQQIIIIQqqq"
)  # id, errno, dev, ino, mode, nlink, uid, gid, size, times
SYNC_DENT_V1 = struct.Struct("<4sIIII")  # id, mode, size, mtime, name length
SYNC_SETUP_SEND = struct.Struct("<4sII")  # SND2: id, mode, flags
SYNC_SETUP_RECV = struct.Struct("<4sI")  # RCV2: id, flags


def sync_message(kind: bytes, payload: bytes = b"") -> bytes:
    """A sync message: a four-letter id, a length, a payload."""
    return SYNC_HEADER.pack(kind, len(payload)) + payload
