"""``store``: where the store is, and how much disk it takes."""

from __future__ import annotations

from kheaders_adb.cli.console import Console
from kheaders_adb.cli.groups import Output, StoreChoice


def store() -> None:
    """Tell where the store is, and how much disk it takes."""


def store_dir(store: StoreChoice, output: Output) -> None:
    """Print the path of the store's folder, which need not be there yet."""
    console = Console.standard(output)
    root = str(store.path().absolute())
    if output.json:
        console.document({"store": root})
    else:
        console.value(root)


def store_size(store: StoreChoice, output: Output) -> None:
    """Print how much disk the store takes: what `du` says of its folder."""
    from kheaders_adb.cli.render import size_text
    from kheaders_adb.store import Store
    from kheaders_adb.store.upkeep.usage import Usage

    console = Console.standard(output)
    found = Store.open(store.path(), create=False)
    size_bytes = Usage.of(found).total_bytes
    if output.json:
        console.document({"store": str(found.root), "disk_bytes": size_bytes})
    else:
        console.result(size_text(size_bytes))


SUBCOMMANDS = {"dir": store_dir, "size": store_size}
