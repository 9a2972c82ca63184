"""Made-up kernels for the fake devices: an identity, a configuration, an archive and a module that agree."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import lzma
import random
import re
import struct
import tarfile
from dataclasses import dataclass, field

from .protocol import raw_bytes
from .traits import Packing

_MTIME = 1_700_000_000
_CONFIG: dict[str, str] = {
    "64BIT": "y",
    "ARM64": "y",
    "SMP": "y",
    "BPF": "y",
    "BPF_SYSCALL": "y",
    "HZ": "250",
    "NR_CPUS": "32",
    "DEFAULT_HOSTNAME": '"(none)"',
    "LOCALVERSION": '"-android14-11"',
    "MODULES": "y",
    "MODVERSIONS": "y",
    "IKCONFIG": "y",
    "IKCONFIG_PROC": "y",
    "IKHEADERS": "m",
    "IPV6": "y",
    "EXT4_FS": "y",
    "F2FS_FS": "m",
    "USB": "y",
    "PREEMPT": "y",
    "PHYS_ADDR": "0x80000000",
}
_UNSET = ("DEBUG_LIST", "KASAN", "LOCKDEP")


@dataclass(frozen=True, slots=True)
class Kernel:
    """One build of a kernel; two that differ in any argument have different archives.

    Attributes:
        release: ``uname -r``.
        version: ``uname -v``.
        machine: ``uname -m``, "aarch64" or "x86_64".
        extra: configuration symbols to add or change ("y", "m", a number, a quoted string).
        seed: varies the header contents and the build-id.
        headers: how many filler headers; each adds some 1.5 KB to the compressed archive.
        links: symlinks that the archive holds besides, as (path, target); the identity is that without them.
    """

    release: str = "6.1.75-android14-11-g0123456789ab"
    version: str = "#1 SMP PREEMPT Thu Feb  1 12:00:00 UTC 2024"
    machine: str = "aarch64"
    extra: tuple[tuple[str, str], ...] = ()
    seed: int = 1
    headers: int = 120
    links: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def numbers(self) -> str:
        """The release's version, patch level and sublevel; what follows may begin with anything."""
        match = re.match(r"\d+\.\d+\.\d+", self.release)
        assert match is not None, self.release
        return match[0]

    @property
    def compiler(self) -> str:
        """The compiler as compile.h and /proc/version name it."""
        return "Android (10087095, +pgo, +bolt) clang version 17.0.2, LLD 17.0.2"

    @property
    def banner(self) -> str:
        """/proc/version, without its line feed."""
        return (
            f"Linux version {self.release} (build-user@build-host) ({self.compiler}) {self.version}"
        )

    @property
    def srcarch(self) -> str:
        """The directory under arch/."""
        return {"aarch64": "arm64", "x86_64": "x86"}[self.machine]

    @property
    def symbols(self) -> dict[str, str]:
        """The configuration without CONFIG_."""
        return {**_CONFIG, **dict(self.extra)}

    @property
    def config(self) -> bytes:
        """The text of .config."""
        lines = [
            "#",
            f"# Linux/{self.srcarch} {self.numbers} Kernel Configuration",
            "#",
        ]
        lines += [f"CONFIG_{name}={value}" for name, value in self.symbols.items()]
        lines += [f"# CONFIG_{name} is not set" for name in _UNSET if name not in self.symbols]
        return raw_bytes("\n".join(lines) + "\n")

    @property
    def config_gz(self) -> bytes:
        """/proc/config.gz."""
        return gzip.compress(self.config, mtime=0)

    @property
    def build_id(self) -> str:
        """The GNU build-id, 40 hex digits."""
        return hashlib.sha1(repr(self).encode()).hexdigest()

    @property
    def notes(self) -> bytes:
        """/sys/kernel/notes: a foreign note, then the build-id."""
        other = struct.pack("<III", 6, 1, 0x100) + b"Linux\0\0\0" + b"\0\0\0\0"
        identifier = bytes.fromhex(self.build_id)
        return other + struct.pack("<III", 4, len(identifier), 3) + b"GNU\0" + identifier

    @property
    def vermagic(self) -> str:
        """A module's vermagic."""
        return f"{self.release} SMP preempt mod_unload modversions {self.machine}"

    @property
    def archive(self) -> bytes:
        """kheaders.tar.xz."""
        return _archive(self)

    @property
    def archive_sha256(self) -> str:
        """Its sha256, hex."""
        return hashlib.sha256(self.archive).hexdigest()

    @property
    def module(self) -> bytes:
        """kheaders.ko."""
        return build_module(self.archive, self.vermagic, self.machine)


@functools.cache
def _archive(kernel: Kernel) -> bytes:
    return build_archive(files_of(kernel), kernel.links)


def build_archive(files: dict[str, bytes], links: tuple[tuple[str, str], ...] = ()) -> bytes:
    """A kheaders.tar.xz as gen_kheaders.sh makes it, of files and of symlinks (path, target)."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as tar:
        folders = {"."}
        for name in files:
            parts = name.split("/")[:-1]
            folders |= {"/".join([".", *parts[: n + 1]]) for n in range(len(parts))}
        for name in sorted(folders | {f"./{name}" for name in files}):
            info = tarfile.TarInfo(name)
            info.mtime = _MTIME
            if name in folders:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            else:
                content = files[name[2:]]
                info.size, info.mode = len(content), 0o644
                tar.addfile(info, io.BytesIO(content))
        for name, target in links:
            info = tarfile.TarInfo(f"./{name}")
            info.type, info.linkname, info.mtime = tarfile.SYMTYPE, target, _MTIME
            tar.addfile(info)
    return lzma.compress(raw.getvalue(), format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, preset=1)


def files_of(kernel: Kernel) -> dict[str, bytes]:
    """What its archive holds, by path."""
    dice = random.Random(kernel.seed)
    version, patch, sub = (int(part) for part in kernel.numbers.split("."))
    code = (version << 16) + (patch << 8) + min(sub, 255)
    defines = []
    for name, value in kernel.symbols.items():
        if value == "y":
            defines.append(f"#define CONFIG_{name} 1")
        elif value == "m":
            defines.append(f"#define CONFIG_{name}_MODULE 1")
        else:
            defines.append(f"#define CONFIG_{name} {value}")
    files = {
        "include/generated/autoconf.h": "\n".join(defines) + "\n",
        "include/generated/utsrelease.h": f'#define UTS_RELEASE "{kernel.release}"\n',
        "include/generated/compile.h": (
            f'#define UTS_MACHINE\t\t"{kernel.machine}"\n'
            '#define LINUX_COMPILE_BY\t"build-user"\n'
            '#define LINUX_COMPILE_HOST\t"build-host"\n'
            f'#define LINUX_COMPILER\t\t"{kernel.compiler}"\n'
        ),
        "include/generated/uapi/linux/version.h": f"#define LINUX_VERSION_CODE {code}\n",
        f"arch/{kernel.srcarch}/include/asm/ptrace.h": "struct pt_regs { unsigned long r[31]; };\n",
        f"arch/{kernel.srcarch}/include/generated/asm/unistd.h": "#define __NR_read 63\n",
        "include/linux/kconfig.h": "#include <generated/autoconf.h>\n#define IS_ENABLED(option) (option)\n",
        "include/linux/sched.h": f"struct task_struct {{ int pid; char seed[{kernel.seed}]; }};\n",
    }
    for number in range(kernel.headers):
        values = "".join(
            f"#define FILLER_{number}_{index} 0x{dice.getrandbits(256):064x}\n"
            for index in range(40)
        )
        files[f"include/filler/part_{number:04}.h"] = values
    return {name: raw_bytes(text) for name, text in sorted(files.items())}


_ELF_MACHINES = {"x86_64": 62, "aarch64": 183}


def build_module(archive: bytes, vermagic: str, machine: str) -> bytes:
    """A relocatable ELF file laid out as kheaders.ko: .rodata between two symbols, .modinfo, __versions."""
    modinfo = b"".join(
        raw_bytes(field) + b"\0"
        for field in ("license=GPL v2", "depends=", "name=kheaders", f"vermagic={vermagic}")
    )
    symbol_names = b"\0kernel_headers_data\0kernel_headers_data_end\0"
    lead = b"\0" * 16  # the data does not start at the section's first byte
    rodata = lead + archive
    symbols = b"\0" * 24
    for name, value in ((b"kernel_headers_data\0", len(lead)), (b"_end\0", len(rodata))):
        at = symbol_names.index(b"kernel_headers_data" + (b"" if name != b"_end\0" else b"_end"))
        symbols += struct.pack("<IBBHQQ", at, 0x10, 0, 1, value, 0)
    crc = struct.pack("<Q", 0x12345678) + b"module_layout".ljust(56, b"\0")
    names = (b"", b".rodata", b".modinfo", b"__versions", b".symtab", b".strtab", b".shstrtab")
    strings = b""
    at_name = []
    for section_name in names:
        at_name.append(len(strings))
        strings += section_name + b"\0"
    bodies = (b"", rodata, modinfo, crc, symbols, symbol_names, strings)
    kinds = (0, 1, 1, 1, 2, 3, 3)
    out = bytearray(64)
    headers = b""
    for index, body in enumerate(bodies):
        out += b"\0" * (-len(out) % 16)
        link, info, entry = (5, 1, 24) if kinds[index] == 2 else (0, 0, 0)
        headers += struct.pack(
            "<IIQQQQIIQQ",
            at_name[index],
            kinds[index],
            2 if kinds[index] == 1 else 0,
            0,
            len(out) if index else 0,
            len(body),
            link,
            info,
            16 if index else 0,
            entry,
        )
        out += body
    out += b"\0" * (-len(out) % 16)
    out[:64] = (
        b"\x7fELF\x02\x01\x01"
        + b"\0" * 9
        + struct.pack(
            "<HHIQQQIHHHHHH",
            1,
            _ELF_MACHINES[machine],
            1,
            0,
            0,
            len(out),
            0,
            64,
            0,
            0,
            64,
            len(bodies),
            6,
        )
    )
    return bytes(out + headers)


def packed(module: bytes, packing: Packing) -> bytes:
    """A module as ``make modules_install`` packs it."""
    match packing:
        case Packing.NONE:
            return module
        case Packing.GZ:
            return gzip.compress(module, mtime=0)
        case Packing.XZ:
            return lzma.compress(module, check=lzma.CHECK_CRC32, preset=1)
        case Packing.ZST:
            return _zstd_stored(module)


def _zstd_stored(content: bytes) -> bytes:
    """A frame of RFC 8878 with raw blocks, as this Python has no zstd."""
    blocks = b""
    for at in range(0, len(content), 128 << 10):
        block = content[at : at + (128 << 10)]
        is_last = at + len(block) == len(content)
        blocks += struct.pack("<I", len(block) << 3 | is_last)[:3] + block
    # A single segment that announces its size in four bytes, without a checksum.
    return b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", len(content)) + blocks
