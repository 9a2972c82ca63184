"""Every reason for which an archive is refused, by name."""

from __future__ import annotations

import enum
from typing import Self

from kheaders_adb.errors import ArchiveError, CorruptArchiveError, UnsafeArchiveError
from kheaders_adb.untrusted.text import printable

_STEP = "reading the archive"
_SEEN_CHARACTERS = 500
_DAMAGED_HINT = "read it again; if the error stays, it was damaged where it was made or stored"


class Rule(enum.StrEnum):
    """A rule for archives; its value is the name that an error carries, its meaning one line.

    ``damaged`` tells the two errors apart: a file that is broken or no archive of headers
    (CorruptArchiveError), or one that says things which must not be extracted (UnsafeArchiveError).
    """

    damaged: bool
    meaning: str

    def __new__(cls, name: str, damaged: bool, meaning: str) -> Self:
        rule = str.__new__(cls, name)
        rule._value_ = name
        rule.damaged = damaged
        rule.meaning = meaning
        return rule

    # The xz stream.
    EMPTY = "empty", True, "no bytes at all"
    NOT_XZ = "not-xz", True, "does not begin as an xz stream does"
    XZ_DAMAGED = "xz-damaged", True, "the xz stream does not decode, or a check sum is wrong"
    XZ_TRUNCATED = "xz-truncated", True, "the input ends within the xz stream"
    XZ_UNCHECKED = "xz-unchecked", True, "the xz stream carries no integrity check known here"
    SECOND_STREAM = "second-stream", True, "another xz stream follows the first"
    DATA_AFTER_XZ = "data-after-xz", True, "bytes follow the xz stream"

    # What it may ask of this host.
    COMPRESSED_TOO_LARGE = "compressed-too-large", False, "more compressed bytes than allowed"
    DICTIONARY_TOO_LARGE = "dictionary-too-large", False, "decoding takes more memory than allowed"
    TOTAL_TOO_LARGE = "total-too-large", False, "unpacks to more bytes than allowed"
    FILE_TOO_LARGE = "file-too-large", False, "one file is larger than allowed"
    TOO_MANY_MEMBERS = "too-many-members", False, "more members than allowed"
    PATH_TOO_DEEP = "path-too-deep", False, "a path of more components than allowed"
    PATH_TOO_LONG = "path-too-long", False, "a path, a component or a target longer than allowed"

    # The tar stream.
    NOT_TAR = "not-tar", True, "a header without the magic of GNU tar or of ustar"
    HEADER_CHECKSUM = "header-checksum", True, "a header's check sum is wrong"
    HEADER_NUMBER = "header-number", True, "a header's number is not octal digits"
    HEADER_GARBAGE = "header-garbage", True, "bytes in a part of a header that must be empty"
    NEGATIVE_SIZE = "negative-size", False, "a size below zero"
    TAR_TRUNCATED = "tar-truncated", True, "the tar stream ends within a member"
    TAR_WITHOUT_END = "tar-without-end", True, "the tar stream lacks its two closing zero blocks"
    DATA_AFTER_TAR = (
        "data-after-tar",
        True,
        "bytes other than zero follow the end of the tar stream",
    )
    NO_MEMBERS = "no-members", True, "the archive holds nothing"

    # Extension headers.
    EXTENSION_DAMAGED = "extension-damaged", True, "a long-name or pax header is malformed"
    EXTENSION_REPEATED = (
        "extension-repeated",
        False,
        "extension headers that compete for one member",
    )
    EXTENSION_WITHOUT_MEMBER = "extension-without-member", True, "no member follows the extension"
    LONG_NAME_DISAGREES = (
        "long-name-disagrees",
        False,
        "a GNU long name is not the continuation of the plain header's name",
    )
    PAX_DISAGREES = (
        "pax-disagrees",
        False,
        "a pax path, target or size contradicts the plain header",
    )
    PAX_KEYWORD = "pax-keyword", False, "a pax keyword that changes what is extracted"
    PAX_GLOBAL = "pax-global", False, "a pax header for all members that follow"

    # Kinds of members.
    HARD_LINK = "hard-link", False, "a hard link"
    DEVICE = "device", False, "a character or block device"
    FIFO = "fifo", False, "a FIFO"
    SPARSE = "sparse", False, "a sparse file"
    UNKNOWN_KIND = (
        "unknown-kind",
        False,
        "a kind of member that is not known here, such as a socket",
    )
    SPECIAL_MODE = (
        "special-mode",
        False,
        "a set-uid, set-gid or sticky bit, or a file type in the mode",
    )
    SIZE_WITHOUT_CONTENT = "size-without-content", False, "a directory or symlink with a size"
    TARGET_WITHOUT_LINK = "target-without-link", False, "a file or directory with a link target"

    # Paths.
    PATH_EMPTY = "path-empty", False, "no path"
    PATH_ABSOLUTE = "path-absolute", False, "an absolute path"
    PATH_ESCAPES = "path-escapes", False, "a path with a `..` component"
    PATH_NOT_NORMAL = (
        "path-not-normal",
        False,
        "a path with `//`, an inner `.`, or a file's final `/`",
    )
    PATH_NOT_UTF8 = "path-not-utf8", False, "a path or target that is not UTF-8"
    PATH_CHARACTER = (
        "path-character",
        False,
        "a control, formatting or line-separating character or a backslash in a path or target",
    )
    PATH_NUL = "path-nul", False, "a NUL within a path or target, with more behind it"
    ROOT_NOT_DIRECTORY = "root-not-directory", False, "the root `./` as anything but a directory"
    DUPLICATE = "duplicate", False, "a path that was there before"
    UNICODE_COLLISION = "unicode-collision", False, "two paths that are the same text in NFC"
    PARENT_NOT_DIRECTORY = (
        "parent-not-directory",
        False,
        "a path through a member that is a file, or the reverse",
    )
    PARENT_IS_LINK = "parent-is-link", False, "a path through a symlink, or the reverse"

    # Symlinks.
    LINK_EMPTY = "link-empty", False, "a symlink without a target"
    LINK_ABSOLUTE = "link-absolute", False, "a symlink to an absolute path"
    LINK_ESCAPES = "link-escapes", False, "a symlink that leaves the tree"
    LINK_NOT_NORMAL = "link-not-normal", False, "a symlink whose target has an empty component"
    LINK_DANGLING = "link-dangling", False, "a symlink to something that the archive does not hold"
    LINK_TO_DIRECTORY = "link-to-directory", False, "a symlink to a directory"
    LINK_CHAIN = "link-chain", False, "a symlink to or through another symlink"

    # What it says about its kernel.
    NOT_KHEADERS = "not-kheaders", True, "lacks the generated headers that name its kernel"
    FACT_NOT_TEXT = "fact-not-text", True, "a generated header or configuration that is not text"
    FACT_TOO_LARGE = (
        "fact-too-large",
        True,
        "a generated header or configuration beyond all measure",
    )
    AUTOCONF_ODD = (
        "autoconf-odd",
        True,
        "an autoconf.h, or the kconfig.h that includes it, which is not as Kconfig writes it",
    )
    CONFIG_DAMAGED = "config-damaged", True, "a gzipped configuration that does not unpack"
    CONFIG_EMPTY = "config-empty", True, "a configuration without a single symbol"

    # The kernel module around it.
    MODULE_TOO_LARGE = "module-too-large", False, "a module of more bytes than allowed"
    MODULE_COMPRESSION = "module-compression", True, "a compressed module that does not unpack here"
    NOT_A_MODULE = "not-a-module", True, "a file that is no ELF kernel module"
    OTHER_MODULE = "other-module", True, "a kernel module, but not kheaders"
    MODULE_DAMAGED = "module-damaged", True, "an ELF file that is malformed or cut short"
    MODULE_WITHOUT_ARCHIVE = "module-without-archive", True, "a kheaders module without its archive"

    def error(
        self,
        seen: str,
        *,
        member: str | bytes | None = None,
        step: str = _STEP,
        hint: str | None = None,
    ) -> ArchiveError:
        """Return the error to raise for this rule.

        Args:
            seen: what was observed; the member's name need not be repeated in it.  It may quote the
                archive: what a terminal might act on is escaped.
            member: the name of the member concerned, raw.
            step: what was being done.
            hint: what to do, where the usual advice does not fit.
        """
        shown = None if member is None else printable(member)
        seen = printable(seen, _SEEN_CHARACTERS)
        text = seen if shown is None else f"{shown}: {seen}"
        text = f"{text} [{self.value}]"
        if self.damaged:
            return CorruptArchiveError(text, rule=self.value, step=step, hint=hint or _DAMAGED_HINT)
        return UnsafeArchiveError(text, rule=self.value, member=shown, step=step, hint=hint)
