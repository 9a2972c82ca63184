"""``make bench``: paired measurements, as medians and ratios."""

from __future__ import annotations

import argparse

from tests.bench import compile as compile_
from tests.bench import pull


def main() -> None:
    """Measure, and print a row per comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=9, help="counted pairs of runs (default 9)")
    arguments = parser.parse_args()
    print(f"{'':48} {'ours':>9}  {'theirs':>9}  ratio")
    for group in (pull.bench, compile_.bench):
        for pairs in group(arguments.pairs):
            print(pairs.row, flush=True)


if __name__ == "__main__":
    main()
