"""Every reason for which an archive is refused, by name."""

from __future__ import annotations

import enum
from typing import Self

from kheaders_adb.errors import ArchiveError, CorruptArchiveError, UnsafeArchiveError
from kheaders_adb.untrusted.text import printable

_STEP = "reading the archive"
_SEEN_CHARACTERS = 500


class Origin(enum.StrEnum):
    """What may be behind an archive that is refused: what a message may accuse the device of.

    ``damaged``: a file that is broken, or no archive of headers at all.  ``odd``: a thing that must not be
    extracted, though an honest build may have packed it: other options of tar, a vendor's script, an
    unusual source tree, or simply more than the caps allow.  ``hostile``: one that no build of a kernel
    makes, or that no file system could have held.
    """

    DAMAGED = "damaged"
    ODD = "odd"
    HOSTILE = "hostile"

    @property
    def hint(self) -> str:
        """What to do about it."""
        return _HINTS[self]


_HINTS = {
    Origin.DAMAGED: "read it again; if the error stays, it was damaged where it was made or stored",
    Origin.ODD: "it is refused to be safe: no kernel known here packs its headers so, but an unusual build "
    "may; if it is the kernel's own, report it together with the kernel's release",
    Origin.HOSTILE: "no build packs such an archive; treat the device or the file as hostile",
}
_DAMAGED, _ODD, _HOSTILE = Origin


class Rule(enum.StrEnum):
    """A rule for archives; its value is the name that an error carries, its meaning one line.

    Its origin tells the two errors apart: a file that is broken or no archive of headers
    (CorruptArchiveError), or one that says things which must not be extracted (UnsafeArchiveError).
    """

    origin: Origin
    meaning: str

    def __new__(cls, name: str, origin: Origin, meaning: str) -> Self:
        rule = str.__new__(cls, name)
        rule._value_ = name
        rule.origin = origin
        rule.meaning = meaning
        return rule

    @property
    def damaged(self) -> bool:
        """Whether it raises CorruptArchiveError."""
        return self.origin is Origin.DAMAGED

    # The xz stream.
    EMPTY = "empty", _DAMAGED, "no bytes at all"
    NOT_XZ = "not-xz", _DAMAGED, "does not begin as an xz stream does"
    XZ_DAMAGED = "xz-damaged", _DAMAGED, "the xz stream does not decode, or a check sum is wrong"
    XZ_TRUNCATED = "xz-truncated", _DAMAGED, "the input ends within the xz stream"
    XZ_UNCHECKED = "xz-unchecked", _ODD, "the xz stream carries no integrity check known here"
    SECOND_STREAM = "second-stream", _DAMAGED, "another xz stream follows the first"
    DATA_AFTER_XZ = (
        "data-after-xz",
        _DAMAGED,
        "bytes other than stream padding follow the xz stream",
    )

    # What it may ask of this host.
    COMPRESSED_TOO_LARGE = "compressed-too-large", _ODD, "more compressed bytes than allowed"
    DICTIONARY_TOO_LARGE = "dictionary-too-large", _ODD, "decoding takes more memory than allowed"
    TOTAL_TOO_LARGE = "total-too-large", _ODD, "unpacks to more bytes than allowed"
    FILE_TOO_LARGE = "file-too-large", _ODD, "one file is larger than allowed"
    TOO_MANY_MEMBERS = "too-many-members", _ODD, "more members than allowed"
    PATH_TOO_DEEP = "path-too-deep", _ODD, "a path of more components than allowed"
    PATH_TOO_LONG = "path-too-long", _ODD, "a path, a component or a target longer than allowed"

    # The tar stream.
    NOT_TAR = "not-tar", _DAMAGED, "a header without the magic of GNU tar or of ustar"
    HEADER_CHECKSUM = "header-checksum", _DAMAGED, "a header's check sum is wrong"
    HEADER_NUMBER = "header-number", _DAMAGED, "a header's number is not octal digits"
    HEADER_GARBAGE = "header-garbage", _DAMAGED, "bytes in a part of a header that must be empty"
    NEGATIVE_SIZE = "negative-size", _HOSTILE, "a size below zero"
    TAR_TRUNCATED = "tar-truncated", _DAMAGED, "the tar stream ends within a member"
    TAR_WITHOUT_END = (
        "tar-without-end",
        _DAMAGED,
        "the tar stream lacks its two closing zero blocks",
    )
    DATA_AFTER_TAR = (
        "data-after-tar",
        _DAMAGED,
        "bytes other than zero follow the end of the tar stream",
    )
    NO_MEMBERS = "no-members", _DAMAGED, "the archive holds nothing"

    # Extension headers.
    EXTENSION_DAMAGED = "extension-damaged", _DAMAGED, "a long-name or pax header is malformed"
    EXTENSION_REPEATED = (
        "extension-repeated",
        _HOSTILE,
        "extension headers that compete for one member",
    )
    EXTENSION_WITHOUT_MEMBER = (
        "extension-without-member",
        _DAMAGED,
        "no member follows the extension",
    )
    LONG_NAME_DISAGREES = (
        "long-name-disagrees",
        _HOSTILE,
        "a GNU long name is not the continuation of the plain header's name",
    )
    PAX_DISAGREES = (
        "pax-disagrees",
        _ODD,
        "a pax path, target or size contradicts the plain header",
    )
    PAX_KEYWORD = "pax-keyword", _ODD, "a pax keyword that changes what is extracted"
    PAX_GLOBAL = "pax-global", _ODD, "a pax header for all members that follow"

    # Kinds of members.
    HARD_LINK = "hard-link", _ODD, "a hard link"
    DEVICE = "device", _HOSTILE, "a character or block device"
    FIFO = "fifo", _ODD, "a FIFO"
    SPARSE = "sparse", _ODD, "a sparse file"
    UNKNOWN_KIND = (
        "unknown-kind",
        _ODD,
        "a kind of member that is not known here, such as a socket",
    )
    SPECIAL_MODE = (
        "special-mode",
        _ODD,
        "a set-uid, set-gid or sticky bit, or a file type in the mode",
    )
    SIZE_WITHOUT_CONTENT = "size-without-content", _HOSTILE, "a directory or symlink with a size"
    TARGET_WITHOUT_LINK = "target-without-link", _HOSTILE, "a file or directory with a link target"

    # Paths.
    PATH_EMPTY = "path-empty", _HOSTILE, "no path"
    PATH_ABSOLUTE = "path-absolute", _HOSTILE, "an absolute path"
    PATH_ESCAPES = "path-escapes", _HOSTILE, "a path with a `..` component"
    PATH_NOT_NORMAL = (
        "path-not-normal",
        _ODD,
        "a path with `//`, an inner `.`, or a file's final `/`",
    )
    PATH_NOT_UTF8 = "path-not-utf8", _ODD, "a path or target that is not UTF-8"
    PATH_CHARACTER = (
        "path-character",
        _ODD,
        "a control, formatting or line-separating character or a backslash in a path or target",
    )
    PATH_NUL = "path-nul", _HOSTILE, "a NUL within a path or target, with more behind it"
    ROOT_NOT_DIRECTORY = "root-not-directory", _HOSTILE, "the root `./` as anything but a directory"
    DUPLICATE = "duplicate", _ODD, "a path that was there before"
    UNICODE_COLLISION = "unicode-collision", _ODD, "two paths that are the same text in NFC"
    PARENT_NOT_DIRECTORY = (
        "parent-not-directory",
        _HOSTILE,
        "a path through a member that is a file, or the reverse",
    )
    PARENT_IS_LINK = "parent-is-link", _HOSTILE, "a path through a symlink, or the reverse"

    # Symlinks.  Those that merely lead nowhere are left out instead: see Omission.
    LINK_EMPTY = "link-empty", _HOSTILE, "a symlink without a target"
    LINK_NOT_NORMAL = "link-not-normal", _ODD, "a symlink whose target has an empty component"

    # What it says about its kernel.
    NOT_KHEADERS = "not-kheaders", _DAMAGED, "lacks the generated headers that name its kernel"
    FACT_NOT_TEXT = (
        "fact-not-text",
        _DAMAGED,
        "a generated header or configuration that is not text",
    )
    FACT_TOO_LARGE = (
        "fact-too-large",
        _DAMAGED,
        "a generated header or configuration beyond all measure",
    )
    AUTOCONF_ODD = (
        "autoconf-odd",
        _DAMAGED,
        "an autoconf.h, or the kconfig.h that includes it, which is not as Kconfig writes it",
    )
    CONFIG_DAMAGED = "config-damaged", _DAMAGED, "a gzipped configuration that does not unpack"
    CONFIG_EMPTY = "config-empty", _DAMAGED, "a configuration without a single symbol"

    # The kernel module around it.
    MODULE_TOO_LARGE = "module-too-large", _ODD, "a module of more bytes than allowed"
    MODULE_COMPRESSION = (
        "module-compression",
        _DAMAGED,
        "a packed module that is not one whole stream of a kind known here",
    )
    NOT_A_MODULE = "not-a-module", _DAMAGED, "a file that is no ELF kernel module"
    OTHER_MODULE = "other-module", _DAMAGED, "a kernel module, but not kheaders"
    MODULE_DAMAGED = "module-damaged", _DAMAGED, "an ELF file that is malformed or cut short"
    MODULE_WITHOUT_ARCHIVE = (
        "module-without-archive",
        _DAMAGED,
        "a kheaders module without its archive",
    )

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
        hint = hint or self.origin.hint
        if self.damaged:
            return CorruptArchiveError(text, rule=self.value, step=step, hint=hint)
        return UnsafeArchiveError(text, rule=self.value, member=shown, step=step, hint=hint)


class Omission(enum.StrEnum):
    """Why a symlink is left out of a tree: it leads to none of the archive's files, and harms nobody unmade.

    Builds archive links in place of headers (bcc #4503): into folders that are not packed, or of the build
    machine.
    """

    meaning: str

    def __new__(cls, name: str, meaning: str) -> Self:
        omission = str.__new__(cls, name)
        omission._value_ = name
        omission.meaning = meaning
        return omission

    LINK_ABSOLUTE = "link-absolute", "a symlink to an absolute path"
    LINK_ESCAPES = "link-escapes", "a symlink that leaves the tree"
    LINK_DANGLING = "link-dangling", "a symlink to something that the archive does not hold"
    LINK_TO_DIRECTORY = "link-to-directory", "a symlink to a directory"
    LINK_CHAIN = "link-chain", "a symlink to or through another symlink"
