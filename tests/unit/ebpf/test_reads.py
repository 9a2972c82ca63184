"""clang's lists of what it has read: their notation, and what is in bounds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from kheaders_adb.ebpf.reads import Bounds, Reads, check_reads, named_by_flags, with_target
from kheaders_adb.errors import CompileError


class Host:
    """Folders of a host, and what a clang says of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("tree/include", "src", "given", "other", "clang"):
            (folder / name).mkdir(parents=True)
        self.source = self.file("src/prog.c")
        self.header = self.file("tree/include/a.h")
        self.bounds = Bounds(kernel=(folder / "tree",), given=(folder / "given",))
        self.asked = 0

    def file(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        return path

    def check(self, listing: str, *edges: tuple[Path, Path]) -> Reads:
        """Check a list, and a graph as clang writes it."""
        files = list(dict.fromkeys(path for edge in edges for path in edge))
        graph = 'digraph "dependencies" {\n'
        for number, path in enumerate(files):
            label = str(path).removeprefix("/").replace("\\", "\\\\").replace('"', '\\"')
            graph += f'  header_{number} [ shape="box", label="{label}"];\n'
        for one, other in edges:
            graph += f"  header_{files.index(one)} -> header_{files.index(other)};\n"
        (self.folder / "list").write_text(listing)
        (self.folder / "graph").write_text(graph + "}\n")
        return check_reads(
            self.folder / "list", self.folder / "graph", self.source, self.bounds, [self.clang]
        )

    def clang(self) -> Iterable[Path]:
        self.asked += 1
        return [self.folder / "clang"]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_the_tree_the_program_and_what_was_named(host: Host) -> None:
    named = host.file("given/b.h")
    read = host.check(f"_: {host.source} \\\n  {host.header} \\\n  {named}\n")
    assert read.real == {str(host.source), str(host.header), str(named)}
    assert host.asked == 0


def test_names_with_all_that_make_escapes(host: Host) -> None:
    odd = host.file("given/a b $x #y \\z \\ w: \\\\ v\\.h")
    # As clang writes it: spaces with the backslashes before them doubled, the others as they are.
    quoted = str(odd).replace("\\ ", "\\\\ ").replace("\\\\\\ ", "\\\\\\\\ ")
    quoted = quoted.replace(" ", "\\ ").replace("$", "$$").replace("#", "\\#")
    assert str(odd) in host.check(f"_: {host.source} {quoted}\n").real


@pytest.mark.parametrize(
    "listing",
    [
        "",
        "nothing",
        "x.o: SOURCE\n",
        "_: SOURCE\nSTRANGER\n",
        "_: SOURCE\nSTRANGER STRANGER:\n",
        "_: SOURCE /no/such/file\n",
        "_: SOURCE \\\n  a\\ \\\n  HEADER\n",
    ],
)
def test_a_list_that_is_not_understood_is_refused(listing: str, host: Host) -> None:
    stranger = host.file("other/x.h")
    listing = listing.replace("SOURCE", str(host.source)).replace("HEADER", str(host.header))
    with pytest.raises(CompileError):
        host.check(listing.replace("STRANGER", str(stranger)))


def test_no_list_is_refused(host: Host) -> None:
    with pytest.raises(CompileError, match="was not written"):
        check_reads(host.folder / "none", host.folder / "none", host.source, host.bounds, [])


def test_phony_rules_are_looked_at_too(host: Host) -> None:
    assert host.check(f"all _: {host.source} {host.header}\n{host.header}:\n")
    with pytest.raises(CompileError, match=r"other/x\.h"):
        host.check(f"_: {host.source}\n{host.file('other/x.h')}:\n")


def test_what_a_header_reads_elsewhere_is_named(host: Host) -> None:
    stranger = host.file("other/x.h")
    listing = f"_: {host.source} {host.header} {host.folder}/tree/include/../../other/x.h\n"
    spelled = Path(f"{host.folder}/tree/include/../../other/x.h")
    for edges in ([], [(host.source, host.header), (host.header, spelled)]):
        with pytest.raises(CompileError) as caught:
            host.check(listing, *edges)
        assert f"reads {stranger}" in str(caught.value)
        assert (str(host.header) in str(caught.value)) is bool(edges)
    # The program's folder is no exception: headers have no business there.
    beside = host.file("src/notes.h")
    with pytest.raises(CompileError, match=r"src/notes\.h"):
        host.check(f"_: {host.source} {host.header} {beside}\n", (host.header, beside))


def test_links_out_of_the_tree_do_not_count_as_the_tree(host: Host) -> None:
    (host.folder / "tree/include/link.h").symlink_to(host.file("other/x.h"))
    with pytest.raises(CompileError, match=r"other/x\.h"):
        host.check(f"_: {host.source} {host.folder}/tree/include/link.h\n")
    # In a folder that the user named they are the user's own, but no way out of it is.
    (host.folder / "given/link.h").symlink_to(host.folder / "other/x.h")
    host.check(f"_: {host.source} {host.folder}/given/link.h\n")
    with pytest.raises(CompileError, match=r"other/x\.h"):
        host.check(f"_: {host.source} {host.folder}/given/../other/x.h\n")


def test_the_programs_own_includes_reach_anywhere_and_headers_nowhere(host: Host) -> None:
    near, far, named = host.file("src/n.h"), host.file("other/f.h"), host.file("given/g.h")
    also = host.file("other/also.h")
    listing = f"_: {host.source} {host.header} {near} {far} {named} {also}\n"
    mine = [
        (host.source, near),
        (near, far),
        (near, host.header),
        (host.source, named),
        (named, also),
    ]
    host.check(listing, *mine)
    with pytest.raises(CompileError, match=r"other/also\.h"):
        host.check(listing, *mine[:-1], (host.header, also))
    with pytest.raises(CompileError, match=r"other/f\.h"):
        host.check(listing, *mine[:1], (host.header, far), *mine[2:])


def test_a_name_that_could_be_two_files_gives_no_right(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    # clang's graph leaves the root away, and so /…/other/x.h looks like other/x.h below here.
    secret = host.file("other/x.h")
    here = host.file("here" + str(secret))
    monkeypatch.chdir(host.folder / "here")
    relative = str(here.relative_to(host.folder / "here"))
    with pytest.raises(CompileError):
        host.check(f"_: {host.source} {secret} {relative}\n", (host.source, secret))


def test_clangs_folder_is_looked_for_when_it_matters(host: Host) -> None:
    own = host.file("clang/stdarg.h")
    host.check(f"_: {host.source} {host.header} {own}\n", (host.header, own))
    assert host.asked == 1


def test_the_next_stage_may_open_what_was_read_or_is_not_there(host: Host) -> None:
    read = host.check(f"_: {host.source} {host.header}\n")
    assert read.holds(str(host.header))
    assert read.holds(f"{host.folder}/src/../tree/include/a.h")
    assert read.holds("/nonexistent/grammar.y")
    assert not read.holds(str(host.file("src/notes")))
    (host.folder / "src/link").symlink_to("/proc/self/fd")
    for own in ("/proc/self/fd/99", "/dev/fd/99", f"{host.folder}/src/link/99"):
        assert not read.holds(own)


@pytest.mark.parametrize("target", ["a.o", "a b\\ c$#\\#.o", "\\ "])
def test_the_target_is_quoted_as_clang_does(target: str, host: Host) -> None:
    quoted = {"a.o": "a.o", "a b\\ c$#\\#.o": "a\\ b\\\\\\ c$$\\#\\\\#.o", "\\ ": "\\\\\\ "}[target]
    assert (
        with_target(b"all _: a.c \\\n  b.h\n", target) == f"all {quoted}: a.c \\\n  b.h\n".encode()
    )


def test_more_dependencies_come_behind_and_need_not_be_there() -> None:
    more = (Path("/s $/names/latest.json"), Path("/p#/.kheaders.toml"))
    for end in (b"", b"\n", b"\n\nb.h:\n"):
        listed = with_target(b"_: a.c \\\n  b.h" + end, "a.o", more)
        assert listed == (
            b"a.o: a.c \\\n  b.h \\\n  /s\\ $$/names/latest.json \\\n  /p\\#/.kheaders.toml"
            + end
            + b"\n/s\\ $$/names/latest.json:\n\n/p\\#/.kheaders.toml:\n"
        )


def test_flags_that_name_folders() -> None:
    flags = "-Ia -I b -isystem c -isystemd -iquotee --include-directory=f -Wall -DI=-Ix -include g/h.h -I"
    assert named_by_flags(flags.split()) == [Path(name) for name in "abcdefg"]
    assert named_by_flags(["-resource-dir=/r", "-resource-dir", "/s", "-imacros", "m.h"]) == [
        Path("/r"),
        Path("/s"),
        Path(),
    ]
