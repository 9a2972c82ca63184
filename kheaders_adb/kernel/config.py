"""Kernel configurations as Kconfig writes them: ``.config``, and what is left of them in C.

``.config`` and ``autoconf.h`` say the same (scripts/kconfig/confdata.c): ``=y`` becomes
``#define CONFIG_X 1``, ``=m`` becomes ``#define CONFIG_X_MODULE 1``, numbers and strings are defined
verbatim, and what is not set is absent.  C cannot tell ``=y`` from the number 1, nor ``X=m`` from a
symbol that is really named ``X_MODULE``; as_compiled() maps a ``.config`` to what is left of it in C, so
that two configurations compare equal exactly if their sets of defines are equal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from kheaders_adb.kernel.heading import Heading, parse_heading
from kheaders_adb.untrusted.gzipped import MAGIC, gunzip
from kheaders_adb.untrusted.limits import DEFAULT_LIMITS, Limits
from kheaders_adb.untrusted.rules import Rule

_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f]").search
_ASSIGNMENT = re.compile(r"CONFIG_(\w+)=(.*)", re.ASCII).fullmatch
_DEFINE = re.compile(r"#define[ \t]+([A-Za-z_]\w*)(?:[ \t]+(.*))?", re.ASCII).fullmatch
_BLANKS = " \t\r\f"
# Whatever stands between (conf_read_simple in scripts/kconfig/confdata.c).
_NOT_SET = re.compile(r"#.CONFIG_(\w+) is not set.*", re.ASCII).fullmatch
_HEX = re.compile(r"(?:0[xX])?([0-9A-Fa-f]*)").fullmatch
_STEP = "reading the kernel configuration"
_MODULE = "_MODULE"
_HEX_PREFIXES = ("0x", "0X")


def decode_text(content: bytes, name: str, limits: Limits = DEFAULT_LIMITS) -> str:
    """Return a generated file's content as text, fit to be shown.

    Bytes that are not UTF-8 become backslash escapes: Kconfig strings may hold any.

    Raises:
        CorruptArchiveError: it is too large or holds control characters.
    """
    if len(content) > limits.config_bytes:
        raise Rule.FACT_TOO_LARGE.error(f"more than {limits.config_bytes} bytes", member=name)
    control = _CONTROL(content)
    if control is not None:
        raise Rule.FACT_NOT_TEXT.error(f"the byte 0x{control[0].hex()}", member=name)
    return content.decode("utf-8", "backslashreplace")


def parse_defines(content: bytes, name: str = "header") -> dict[str, str]:
    """Return the object-like macros of a generated header, each with its text.

    Args:
        content: the header's bytes.
        name: its path, for messages.

    Raises:
        CorruptArchiveError: it is not text.
    """
    defines = {}
    for line in decode_text(content, name).split("\n"):
        define = _DEFINE(line.rstrip(_BLANKS))
        if define is not None:
            defines[define[1]] = define[2] or ""
    return defines


class Configuration(dict[str, str]):
    """A configuration's symbols without their ``CONFIG_`` prefix.

    Attributes:
        heading: of which Linux it says it is; None if it does not.
    """

    __slots__ = ("heading",)

    def __init__(self, symbols: Mapping[str, str], heading: Heading | None = None) -> None:
        super().__init__(symbols)
        self.heading = heading


def parse_config(text: bytes, name: str = ".config") -> Configuration:
    """Return the symbols of a ``.config`` without their ``CONFIG_`` prefix.

    Args:
        text: the configuration, unpacked (see load_config).
        name: where it is from, for messages.

    Returns:
        "y", "m", or the number or quoted string verbatim, in the file's order; symbols that are not
        set are absent.  Of several lines on one symbol the last counts, as for Kconfig.

    Raises:
        CorruptArchiveError: it is not text, or holds no symbol at all.
    """
    config: dict[str, str] = {}
    empty = True
    for line in decode_text(text, name).split("\n"):
        assignment = _ASSIGNMENT(line.rstrip(_BLANKS))
        if assignment is not None:
            empty = False
            symbol, value = assignment[1], assignment[2].lstrip(_BLANKS)
            config.pop(symbol, None)
            if value != "n":
                config[symbol] = value
        elif line.startswith("#") and (unset := _NOT_SET(line)):
            empty = False
            config.pop(unset[1], None)
    if empty:
        raise Rule.CONFIG_EMPTY.error(
            "not one CONFIG_ symbol", member=name, step=_STEP, hint="give a kernel's .config"
        )
    return Configuration(config, parse_heading(text))


def load_config(data: bytes, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Return a configuration's text, from ``/proc/config.gz`` or a plain ``.config``.

    Raises:
        CorruptArchiveError: it does not unpack, or to more than a configuration ever is.
    """
    if not data.startswith(MAGIC):
        text = data
    else:
        unpacked = gunzip(data, limits.config_bytes)
        text = unpacked.content
        if unpacked.fault is not None:
            raise Rule.CONFIG_DAMAGED.error(f"does not unpack: {unpacked.fault}", step=_STEP)
        if len(text) <= limits.config_bytes and not unpacked.whole:
            raise Rule.CONFIG_DAMAGED.error(f"cut short after {len(data)} bytes", step=_STEP)
        if unpacked.rest:
            raise Rule.CONFIG_DAMAGED.error("bytes follow the gzip stream", step=_STEP)
    if len(text) > limits.config_bytes:
        raise Rule.FACT_TOO_LARGE.error(f"more than {limits.config_bytes} bytes", step=_STEP)
    return text


def split_config(data: bytes, limits: Limits = DEFAULT_LIMITS) -> tuple[bytes | None, bytes]:
    """Return the text of ``/proc/config.gz`` and the bytes that follow it.

    gzip says where it ends, so that a device can send other things behind it.

    Returns:
        The text, or None where there is none, it is damaged or it is beyond all measure: half a
        configuration would be a wrong one.  What follows is empty where its beginning cannot be told.
    """
    if not data.startswith(MAGIC):
        return None, data
    unpacked = gunzip(data, limits.config_bytes)
    if not unpacked.whole or len(unpacked.content) > limits.config_bytes:
        return None, b""
    return unpacked.content, unpacked.rest


def as_compiled(config: Mapping[str, str]) -> dict[str, str]:
    """Return what ``parse_autoconf`` gives for the ``autoconf.h`` of this configuration."""
    return as_symbols(as_defines(config))


def same_hex(kernel: str | None, archive: str | None) -> bool:
    """Whether ``autoconf.h`` has a hexadecimal number, and a ``.config`` the same one.

    C gets a ``0x`` that ``.config`` may lack, as Kconfig adds it to symbols of type hex only: by it the type
    is known.  Without it a number is decimal, and equal only as it is written.

    Args:
        kernel: the value in the ``.config``, verbatim.
        archive: what parse_autoconf() gives.
    """
    if kernel is None or archive is None or not archive.startswith(_HEX_PREFIXES):
        return False
    one, other = _HEX(kernel), _HEX(archive)
    if one is None or other is None:
        return False
    # A prefix alone is no number: it is what C gets of a symbol without a value.
    return bool(one[1]) == bool(other[1]) and _digits(one[1]) == _digits(other[1])


def lacks_prefix(kernel: str | None, archive: str | None) -> bool:
    """Whether a ``.config``'s value is a hexadecimal number without the ``0x`` that C must get.

    Either the archive's value shows that the symbol is of type hex, or its own digits do.
    """
    if not kernel or kernel.startswith(_HEX_PREFIXES) or _HEX(kernel) is None:
        return False
    return (archive or "").startswith(_HEX_PREFIXES) or not kernel.isdecimal()


def _digits(text: str) -> str:
    return text.lower().lstrip("0")


def as_defines(config: Mapping[str, str]) -> dict[str, str]:
    """Return the macros of the ``autoconf.h`` of a configuration, without their ``CONFIG_``."""
    defines = {}
    for symbol, value in config.items():
        if value == "m":
            defines[symbol + _MODULE] = "1"
        else:
            defines[symbol] = "1" if value == "y" else value
    return defines


def as_symbols(defines: Mapping[str, str]) -> dict[str, str]:
    """Return the symbols that these macros of an ``autoconf.h`` stand for; "y" and "m" for tristates."""
    symbols = {}
    for define, text in defines.items():
        if text != "1":
            symbols[define] = text
            continue
        base = define.removesuffix(_MODULE)
        # Where CONFIG_X is there as well, CONFIG_X_MODULE is a symbol of that very name.
        if base == define or not base or base in defines:
            symbols[define] = "y"
        else:
            symbols[base] = "m"
    return symbols
