"""How clang lays out the structures of header trees: by two runs a tree.

The first run finds their names (``-fdump-record-layouts-complete``).  The layouts that it prints are of no
use: they are computed at the closing brace, before the attributes behind it, and then kept for the whole run.
The second asks for the size of each, behind all headers, and has clang dump what it computes for that.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from kheaders_adb.ebpf import reads
from kheaders_adb.ebpf.clang import cannot_be_run, failure, headers_asked, headers_nearby
from kheaders_adb.ebpf.dumps import record_layouts, record_names
from kheaders_adb.ebpf.flags import SHIMS, list_flags, parse_flags
from kheaders_adb.ebpf.headers import HeaderTree, include_dirs
from kheaders_adb.ebpf.process import Ended, Limits, finish, started
from kheaders_adb.ebpf.workplace import temporary_folder
from kheaders_adb.errors import CompileError
from kheaders_adb.kernel.layouts import Layout, RecordName
from kheaders_adb.parallel import in_parallel

_CORE_FIRST = """\
linux/sched.h linux/sched/signal.h linux/sched/task.h linux/sched/mm.h linux/sched/user.h linux/cred.h
linux/pid.h linux/pid_namespace.h linux/nsproxy.h linux/user_namespace.h linux/ipc_namespace.h
linux/ns_common.h linux/fdtable.h linux/fs.h linux/fs_struct.h linux/file.h linux/dcache.h linux/mount.h
linux/namei.h linux/path.h linux/seq_file.h linux/pipe_fs_i.h linux/eventpoll.h linux/poll.h linux/mm.h
linux/mm_types.h linux/mmzone.h linux/vmstat.h linux/swap.h linux/shmem_fs.h linux/hugetlb.h linux/rmap.h
linux/slab.h linux/vmalloc.h linux/memcontrol.h linux/oom.h linux/pagemap.h linux/backing-dev.h
linux/writeback.h linux/bio.h linux/blk_types.h linux/blkdev.h linux/blk-mq.h linux/genhd.h linux/elevator.h
linux/wait.h linux/mutex.h linux/rwsem.h linux/rtmutex.h linux/semaphore.h linux/completion.h
linux/workqueue.h linux/timer.h linux/hrtimer.h linux/interrupt.h linux/irq.h linux/irqdesc.h linux/kthread.h
linux/futex.h linux/module.h linux/moduleparam.h linux/kprobes.h linux/ftrace.h linux/trace_events.h
linux/tracepoint.h linux/perf_event.h linux/bpf.h linux/bpf-cgroup.h linux/filter.h linux/cgroup.h
linux/cgroup-defs.h linux/cpuset.h linux/security.h linux/audit.h linux/key.h linux/ptrace.h linux/binfmts.h
linux/elf.h linux/syscalls.h linux/uio.h linux/io_uring.h linux/aio.h linux/socket.h linux/net.h
linux/skbuff.h linux/netdevice.h linux/etherdevice.h linux/if_ether.h linux/if_vlan.h linux/ip.h linux/ipv6.h
linux/tcp.h linux/udp.h linux/icmp.h linux/un.h linux/netlink.h linux/rtnetlink.h linux/netfilter.h
linux/netfilter_ipv4.h linux/rhashtable.h linux/xarray.h linux/radix-tree.h linux/idr.h linux/rbtree.h
linux/llist.h linux/percpu.h linux/psi_types.h linux/delayacct.h linux/taskstats_kern.h linux/iocontext.h
linux/task_work.h linux/seccomp.h linux/personality.h linux/msg.h linux/sem.h linux/shm.h
net/sock.h net/tcp.h net/udp.h net/ip.h net/ipv6.h net/inet_sock.h net/inet_connection_sock.h
net/inet_timewait_sock.h net/request_sock.h net/af_unix.h net/net_namespace.h net/dst.h net/route.h
net/ip_fib.h net/neighbour.h net/sch_generic.h net/pkt_sched.h net/netfilter/nf_conntrack.h net/xdp.h
net/genetlink.h net/flow.h net/raw.h
asm/ptrace.h asm/processor.h asm/thread_info.h asm/elf.h uapi/linux/bpf.h
linux/device.h linux/kobject.h linux/platform_device.h linux/of.h linux/scatterlist.h linux/dma-mapping.h
linux/dma-buf.h linux/i2c.h linux/spi/spi.h linux/usb.h linux/usb/gadget.h linux/pci.h linux/clk-provider.h
linux/regulator/consumer.h linux/cpufreq.h linux/cpuidle.h linux/thermal.h linux/power_supply.h
linux/pm_qos.h linux/tty.h linux/tty_driver.h linux/serial_core.h linux/input.h linux/cdev.h
linux/miscdevice.h linux/fscrypt.h linux/fsnotify_backend.h linux/quota.h linux/exportfs.h
linux/kernfs.h linux/sysfs.h linux/proc_fs.h linux/mmc/host.h linux/mmc/card.h linux/random.h linux/crypto.h
linux/firmware.h linux/kvm_host.h scsi/scsi.h scsi/scsi_cmnd.h scsi/scsi_device.h scsi/scsi_host.h
net/cfg80211.h net/mac80211.h
"""
#: Headers whose structures programs look at: 3,200 to 3,800 records in 6.1 and 6.12.  One that does not
#: compile costs its own records.  The core comes first, so that no other header can change what it means.
HEADERS = tuple(_CORE_FIRST.split())

#: 10,000 records are 12 MB of text, and take 2 s.
LIMITS = Limits(wall_s=120, cpu_s=60, file_bytes=32 << 20)

A = TypeVar("A")

_STEP = "laying out structures"
#: A header that is not there ends clang at once, so that each may take a run.
_MOST_RUNS = 16
_QUIET = (
    *("-fsyntax-only", "-w", "-ferror-limit=0", "-fno-color-diagnostics", "-fno-caret-diagnostics"),
    *("-fno-crash-diagnostics", "-Xclang"),
)


@dataclass(frozen=True, slots=True)
class Views:
    """How clang lays out the structures of some trees.

    Attributes:
        headers: what was included, the same in all trees.
        left_out: of the headers that a tree has, those that another lacks, or that do not compile in one.
        layouts: for each tree, its records.
    """

    headers: tuple[str, ...]
    left_out: tuple[str, ...]
    layouts: tuple[Mapping[RecordName, Layout], ...]


def view_records(
    trees: Sequence[HeaderTree],
    clang: Path,
    *,
    headers: Sequence[str] = HEADERS,
    limits: Limits = LIMITS,
) -> Views:
    """Return how one clang lays out the structures of each tree, the same headers being included in all.

    Args:
        trees: the headers; they stay where they are meanwhile.
        clang: the compiler.
        headers: which of them to include, as ``#include`` takes them, in this order.
        limits: what each run of clang may take.

    Raises:
        CompileError: no header compiles, clang is none, a limit was exceeded, or the headers tried to read a
            file that is none of theirs.

    Two runs a tree, and one more for each time that headers turn out not to compile.
    """
    with ExitStack() as held:
        views = [
            _View(tree, clang, held.enter_context(temporary_folder(_STEP)), limits)
            for tree in trees
        ]
        present = [view.present(headers) for view in views]
        usable = tuple(name for name in headers if all(name in found for found in present))
        while True:
            _at_once(_View.find, [view for view in views if view.headers != usable], usable)
            common = tuple(name for name in usable if all(name in view.headers for view in views))
            if all(view.headers == common for view in views):
                break
            usable = common
        layouts = _at_once(_View.lay_out, views)
    some = frozenset[str]().union(*present)
    left_out = tuple(name for name in headers if name in some and name not in common)
    return Views(common, left_out, tuple(layouts))


def _at_once(do: Callable[..., A], views: Sequence[_View], *arguments: object) -> list[A]:
    """Do something with each view, in threads; all of them end when one fails."""
    stop = threading.Event()
    return in_parallel(
        lambda view: do(view, *arguments, stop), views, at_once=os.cpu_count() or 1, stop=stop
    )


class _View:
    """One tree, as clang sees it."""

    def __init__(self, tree: HeaderTree, clang: Path, folder: Path, limits: Limits) -> None:
        self._tree = tree
        self._clang = clang
        self._folder = folder
        self._source = folder / "records.c"
        self._limits = limits
        #: What was included when the names were found.
        self.headers: tuple[str, ...] = ()
        self._names: Collection[RecordName] = ()

    def present(self, headers: Iterable[str]) -> frozenset[str]:
        """Those of the headers that the tree has."""
        folders = include_dirs(self._tree.root, self._tree.arch)
        return frozenset(
            name for name in headers if any((folder / name).is_file() for folder in folders)
        )

    def find(self, headers: tuple[str, ...], stop: threading.Event) -> None:
        """Find the names of the records in as many of the headers as compile."""
        listing, graph = self._folder / "list", self._folder / "graph"
        for _ in range(_MOST_RUNS):
            if not headers:
                break
            flags = ("-fdump-record-layouts-complete", *list_flags(listing, graph))
            ended = self._run(headers, flags, stop)
            if ended.status == 0:
                # The second run includes the same before anything else, and so reads nothing more.
                self._check_reads(listing, graph)
                self.headers, self._names = headers, record_names(ended.code)
                return
            wrong = self._wrong_lines(ended)
            if not wrong:
                raise failure(self._clang, ended, _STEP)
            headers = tuple(name for line, name in enumerate(headers, 1) if line not in wrong)
        raise CompileError(
            f"the headers in {self._tree.root} do not compile",
            step=_STEP,
            hint="compile a program against them, which shows clang's reasons",
        )

    def lay_out(self, stop: threading.Event) -> dict[RecordName, Layout]:
        """Return how the records lie in memory."""
        # Each on its own: behind a mistake, clang leaves out the rest of a list.
        asked = [f'_Static_assert(sizeof({name}) + 1, "");' for name in sorted(self._names)]
        ended = self._run(self.headers, ["-fdump-record-layouts"], stop, asked)
        # A structure that is local to a function has no size here: its line, and no other, is a mistake.
        wrong = self._wrong_lines(ended) if ended.status == 1 else frozenset()
        if ended.limit or ended.status not in (0, 1) or ended.status != bool(wrong):
            raise failure(self._clang, ended, _STEP)
        if wrong and min(wrong) <= len(self.headers):
            raise failure(self._clang, ended, _STEP)
        return record_layouts(ended.code)

    def _run(
        self,
        headers: Iterable[str],
        flags: Sequence[str],
        stop: threading.Event,
        asked: Iterable[str] = (),
    ) -> Ended:
        lines = [*(f"#include <{name}>" for name in headers), *asked, ""]
        self._source.write_text("\n".join(lines))
        command = [
            *(str(self._clang), "-target", self._tree.arch.triple, *parse_flags(self._tree)),
            *(*_QUIET, *flags, str(self._source)),
        ]
        try:
            with started(command, self._limits) as running:
                return finish(running, self._limits, stop=stop)
        except OSError as error:
            raise cannot_be_run(self._clang, error, _STEP) from error

    def _wrong_lines(self, ended: Ended) -> frozenset[int]:
        """The lines of the source in which, or in what they include, clang sees mistakes."""
        if ended.limit or ended.status < 0:
            return frozenset()
        source = re.escape(os.fsencode(self._source))
        place = re.compile(rb"(?:In file included from )?" + source + rb":(\d+)[:,]").match
        wrong = set()
        line: int | None = None
        for said in ended.diagnostics.split(b"\n"):
            # Once for all mistakes in one header: clang does not repeat how it came there.
            if found := place(said):
                line = int(found[1])
            if line is not None and b" error: " in said:
                wrong.add(line)
        return frozenset(wrong)

    def _check_reads(self, listing: Path, graph: Path) -> None:
        compilers = [partial(near, self._clang) for near in (headers_nearby, headers_asked)]
        bounds = reads.Bounds((self._tree.root, SHIMS), ())
        reads.check_reads(listing, graph, self._source, bounds, compilers)
