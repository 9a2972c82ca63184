"""What the commands look like at work: lines of a terminal, in which those behind "$ " are typed."""

from __future__ import annotations

_PULLED = """\
1A2B3C4D: kernel 6.6.30 (aarch64, build-id 685614114ac1)
  headers: read /sys/kernel/kheaders.tar.xz, 3.9 MiB
  verdict: exact (release, machine, config agree; version unknown)
/home/me/.cache/kheaders-adb/trees/773a8da464e4695949384d9ad1cf…"""
_USING = "kheaders-adb: using 6.6.30 (5a1d6c0f9e21, arm64, exact) of 1A2B3C4D"

EXAMPLES: dict[str, tuple[str, ...]] = {
    "": (f"$ kheaders-adb pull\n{_PULLED}", f"$ kheaders-adb compile trace.bpf.c\n{_USING}"),
    "pull": (
        f"$ kheaders-adb pull -s 1A2B3C4D\n{_PULLED}",
        "$ cd $(kheaders-adb pull -q --module out/dist)",
    ),
    "devices": (
        """\
$ kheaders-adb devices
SERIAL    STATE         MODEL    RELEASE  MACHINE  HEADERS   ROOT  STAGED
1A2B3C4D  device        Board_4  6.6.30   aarch64  built-in  yes   yes
PHONE     unauthorized  -        -        -        -         -     -""",
    ),
    "push": (
        """\
$ kheaders-adb push
1A2B3C4D: the headers of 6.6.30 are in /data/local/tmp/kheaders/6.6.30-773a8…
export KHEADERS_DIR=/data/local/tmp/kheaders/6.6.30-773a8…;
export KHEADERS_ARCH=arm64;
…""",
    ),
    "doctor": (
        """\
$ kheaders-adb doctor
ok    adb server  version 1.0.41 at tcp:127.0.0.1:5037
ok    device      PHONE: device; pull would read /sys/kernel/kheaders.tar.xz
ok    store       /home/me/.cache/kheaders-adb: writable, 80.5 GiB free
ok    clang       /usr/bin/clang, with the bpf target""",
        "$ kheaders-adb doctor --undo",
    ),
    "list": (
        """\
$ kheaders-adb list
KEY           RELEASE  MACHINE  DEVICE    VERDICT  SIZE    AGE
5a1d6c0f9e21  6.6.30   aarch64  1A2B3C4D  exact    38 MiB  2 h   pinned
484fa9ace699  6.1.75   aarch64  PHONE     exact    36 MiB  9 d""",
    ),
    "show": (
        """\
$ kheaders-adb show @1A2B3C4D
key           5a1d6c0f9e2160f2f1294c06d1f8439bc5fcb1430999cc90869d086a6c8d43e4
release       6.6.30
…
verdict       exact
  release     agree    6.6.30""",
    ),
    "path": (
        """\
$ kheaders-adb path 6.6
/home/me/.cache/kheaders-adb/trees/773a8da464e4695949384d9ad1cf…""",
        "$ kheaders-adb path @1A2B3C4D --json",
    ),
    "diff": (
        """\
$ kheaders-adb diff 6.6.30 @1A2B3C4D --layout
          FROM          TO
release   6.6.30        6.6.30
…
configuration (of the kernels): 1 symbol differs: 1 added
  +  CONFIG_SCHED_INFO  y  include/linux/sched.h  sched_info
…
structures: 2 of 3574 differ
  ~ struct task_struct: 6592 → 6624 bytes
      ~ sched_info: struct sched_info at offset 732 → 736
…""",
        "$ kheaders-adb diff 5a1d6c0f9e21 latest --header include/linux/sched.h",
    ),
    "remove": (
        """\
$ kheaders-adb remove 484fa9ace699
removed 6.1.75 (484fa9ace699): 36 MiB freed""",
    ),
    "import": (
        """\
$ kheaders-adb import kheaders.tar.xz --config .config --release 6.6.30
kheaders.tar.xz: headers of kernel 6.6.30 (5a1d6c0f9e21)
  verdict: exact (release, config agree)
/home/me/.cache/kheaders-adb/trees/773a8da464e4695949384d9ad1cf…""",
    ),
    "export": (
        """\
$ kheaders-adb export @1A2B3C4D -o kheaders.tar.xz
kheaders.tar.xz: 4089446 bytes, sha256 773a8da464e4695949384d9ad1cf…""",
        "$ kheaders-adb export 6.6 --tree -o headers/",
    ),
    "compile": (
        f"$ kheaders-adb compile trace.bpf.c -o trace.bpf.o\n{_USING}",
        "$ kheaders-adb compile -s 1A2B3C4D -j 4 src/*.bpf.c -o out/ -- -Wall",
    ),
    "compdb": (
        f"""\
$ kheaders-adb compdb src/*.bpf.c
{_USING}
compile_commands.json: 3 of its entries are for 6.6.30""",
    ),
    "cflags": (
        """\
$ clang $(kheaders-adb cflags -q) -c trace.bpf.c -o trace.bc
$ clang $(kheaders-adb cflags -q --stage bpf) -c trace.bc -o trace.bpf.o""",
    ),
    "env": (
        '$ eval "$(kheaders-adb env)"',
        f"$ kheaders-adb env --shell fish @1A2B3C4D | source\n{_USING}",
    ),
    "verify": (
        """\
$ kheaders-adb verify --all
2 trees, 9482 files: all as recorded""",
        "$ kheaders-adb verify --all --repair",
    ),
    "gc": (
        """\
$ kheaders-adb gc --max-age 30d --max-size 2G --dry-run
would remove 6.1.75 (484fa9ace699)
would remove 1 kernel, 1 tree: 36 MiB would be freed; left: 1 kernel""",
    ),
    "pin": ("$ kheaders-adb pin @1A2B3C4D\npinned 6.6.30 (5a1d6c0f9e21)",),
    "store": ("$ kheaders-adb store size\n88 MiB",),
    "store dir": ("$ kheaders-adb store dir\n/home/me/.cache/kheaders-adb",),
    "store size": ("$ kheaders-adb store size\n88 MiB",),
    "unpin": ("$ kheaders-adb unpin 6.6.30\nunpinned 6.6.30 (5a1d6c0f9e21)",),
}
"""The examples of each command; of the program itself under the empty name."""
