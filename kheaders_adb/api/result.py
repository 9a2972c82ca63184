"""The Python API's front door: what ``pull`` and ``compile`` do, as functions.

Like the command line, and unlike everything below, it takes adb's and the store's variables from the
environment, so that a program finds the same device, server and store as its user's shell.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kheaders_adb import model, settings
from kheaders_adb.errors import CompileError
from kheaders_adb.model import Privilege, Via
from kheaders_adb.pipeline.options import Options, Tolerance
from kheaders_adb.pipeline.retry import ensure_selected
from kheaders_adb.store import Store
from kheaders_adb.untrusted.text import harmless


@dataclass(frozen=True, slots=True)
class Staged(model.Staged):
    """A staged header tree, as `model.Staged`, and what it is good for.

    Attributes:
        store: the folder of the store that it is in.
    """

    store: Path = dataclasses.field(kw_only=True)

    def cflags(self, *, libbpf: Path | None = None) -> list[str]:
        """clang's flags for the front stage, as ``kheaders-adb cflags`` prints them.

        Args:
            libbpf: where libbpf's headers are; None for where pkg-config says, if they are installed.

        Raises:
            CompileError: the tree is of an architecture that cannot be compiled for.
            UsageError: `libbpf` holds no such headers.
        """
        from kheaders_adb.ebpf.flags import front_flags
        from kheaders_adb.ebpf.headers import read_tree
        from kheaders_adb.ebpf.libbpf import find_libbpf

        return front_flags(read_tree(self.tree), libbpf=find_libbpf(libbpf, settings.links_path))

    def compile(
        self,
        source: str | Path,
        output: str | Path | None = None,
        *,
        clang: str | None = None,
        libbpf: Path | None = None,
        defines: Sequence[str] = (),
        include_dirs: Sequence[Path] = (),
        extra: Sequence[str] = (),
        on_diagnostics: Callable[[bytes], None] | None = None,
    ) -> Path:
        """Compile a BPF program and return the path of the object.

        Args:
            source: the C program.
            output: the object; None for one beside the source, ``prog.bpf.c`` → ``prog.bpf.o``.
            clang: name or path; None for ``$CLANG``, or the one found on PATH.
            libbpf: as for `cflags`.
            defines: ``NAME`` or ``NAME=VALUE``.
            include_dirs: searched after the kernel's.
            extra: more arguments for clang's front stage.
            on_diagnostics: receives what clang writes; without it, an error carries that as a note.

        Raises:
            CompileError: clang failed, or there is none that makes BPF objects.
            UsageError: `source` is no file, or `output` cannot be one.
            StoreError: the tree was removed meanwhile.

        Guarantees:
            The object appears complete or not at all.
        """
        from kheaders_adb.ebpf.clang import find_clang
        from kheaders_adb.ebpf.compile import CompileOptions, compile_program
        from kheaders_adb.ebpf.headers import read_tree
        from kheaders_adb.ebpf.libbpf import find_libbpf
        from kheaders_adb.ebpf.programs import object_path

        options = CompileOptions(
            clang=find_clang(clang or settings.clang()),
            libbpf=find_libbpf(libbpf, settings.links_path),
            defines=tuple(defines),
            include_dirs=tuple(include_dirs),
            extra=tuple(extra),
        )
        source = Path(source)
        target = Path(output) if output is not None else object_path(source)
        said: list[bytes] = []
        store = Store.open(self.store, create=False)
        try:
            with store.in_use(store.resolve(self.kernel.key)):
                return compile_program(
                    read_tree(self.tree), source, target, options, on_diagnostics or said.append
                )
        except CompileError as error:
            if said:
                error.add_note(b"".join(said).decode("utf-8", "replace").rstrip())
            raise


def ensure(
    serial: str | None = None,
    *,
    store: Store | Path | None = None,
    module: Path | None = None,
    via: Via = Via.AUTO,
    allow_mismatch: bool = False,
    repair_config: bool = False,
    refresh: bool = False,
    privilege: Privilege = Privilege.AUTO,
    su_command: str | None = None,
    keep_root: bool = False,
    timeout_s: float | None = None,
    on_change: Callable[[str], None] | None = None,
) -> Staged:
    """The headers of the kernel that a device runs, staged on this host.

    Args:
        serial: the device's serial; None for ``$ANDROID_SERIAL`` or the only device.
        store: a store, or the folder of one; None for ``$KHEADERS_ADB_STORE`` or the user's cache.
        module: a kheaders.ko, or a folder of them, to use where the kernel shows no headers.
        via, allow_mismatch, repair_config, refresh, keep_root: as the options of ``pull``.
        privilege: how root may be got where it is needed; ``Privilege.NONE`` never changes the device's
            adbd and asks no su.
        su_command: the only su to try, as with ``pull``; None for ``$KHEADERS_ADB_SU_COMMAND``, if set.
        timeout_s: seconds for all of it; None for two minutes.
        on_change: told, in sentences, of what is changed on the device before it is (``adb root``, which ends
            other sessions; a module that is loaded) and of what could not be undone; None for a warning of
            the logger ``kheaders_adb``, which Python shows on stderr unless that is set up otherwise.

    Returns:
        The staged tree, and the verdict that it is trusted for.

    Raises:
        KheadersError: as drawn in `kheaders_adb.errors`; `pipeline.ensure` says which.
    """
    deadline = settings.deadline(timeout_s)
    trees = store if isinstance(store, Store) else settings.open_store(store)
    options = Options(
        module=module,
        via=via,
        tolerance=Tolerance.of(allow_mismatch=allow_mismatch, repair_config=repair_config),
        refresh=refresh,
        privilege=privilege,
        keep_root=keep_root,
        on_change=on_change or _warn,
        su=settings.su_command(su_command),
    )
    staged, _ = ensure_selected(
        settings.adb_server(),
        settings.selection(serial=serial),
        trees,
        options,
        deadline=deadline,
    )
    fields = {item.name: getattr(staged, item.name) for item in dataclasses.fields(staged)}
    return Staged(**fields, store=trees.root)


def _warn(text: str) -> None:
    # It names serials and quotes devices: neither a format nor a terminal's commands.
    logging.getLogger("kheaders_adb").warning("%s", harmless(text))
