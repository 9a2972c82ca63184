"""How much an archive, a module or a configuration may ask of this host."""

from __future__ import annotations

from dataclasses import dataclass

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps on untrusted input; the figures of real archives are those of Linux 5.4 to 6.12.

    Attributes:
        compressed_bytes: of the xz stream (real: 3.5 to 4.3 MB).
        total_bytes: of the tar stream, headers and padding included (real: 31 to 34 MB).
        file_bytes: of one member's content (real: 0.36 MB).
        members: entries of any kind, directories included (real: 6,700 to 21,270).
        depth: components of a path (real: 7).
        path_bytes: of a member's path or of a link's target (real: 59).
        dictionary_bytes: of the xz dictionary (real: 8 MiB; ``xz -9`` takes 64).
        module_bytes: of a ``kheaders.ko``, and of what a compressed one unpacks to (real: 4 MB).
        config_bytes: of a kernel configuration, unpacked, and of ``autoconf.h`` (real: 0.05 MB
            for a small kernel).
    """

    compressed_bytes: int = 64 * _MIB
    total_bytes: int = 256 * _MIB
    file_bytes: int = 16 * _MIB
    members: int = 65_536
    depth: int = 32
    path_bytes: int = 512
    dictionary_bytes: int = 64 * _MIB
    module_bytes: int = 96 * _MIB
    config_bytes: int = 4 * _MIB


DEFAULT_LIMITS = Limits()
