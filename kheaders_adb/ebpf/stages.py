"""The two stages of a compilation, by name."""

from __future__ import annotations

import enum


class Stage(enum.StrEnum):
    """One of the two stages of a compilation."""

    FRONT = "front"
    BPF = "bpf"
