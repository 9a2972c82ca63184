"""ELF notes, as ``/sys/kernel/notes`` hands out those of vmlinux."""

from __future__ import annotations


def parse_build_id(notes: bytes) -> str | None:
    """The GNU build-id (lower-case hex) in a sequence of ELF notes, or None.

    Both byte orders are understood; notes that are cut short end the search.
    """
    position = 0
    while position + 12 <= len(notes):
        head = notes[position : position + 12]
        order = "little" if int.from_bytes(head[8:12], "little") < 0x10000 else "big"
        name_bytes, data_bytes, kind = (
            int.from_bytes(head[at : at + 4], "little" if order == "little" else "big")
            for at in (0, 4, 8)
        )
        data_at = position + 12 + (name_bytes + 3 & ~3)
        end = data_at + (data_bytes + 3 & ~3)
        name = notes[position + 12 : position + 12 + name_bytes]
        data = notes[data_at : data_at + data_bytes]
        if kind == 3 and name == b"GNU\0" and 0 < len(data) == data_bytes <= 64:
            return data.hex()
        position = end
    return None
