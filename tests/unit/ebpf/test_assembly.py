"""What of the front stage's code passes, as text; what real clangs do with it is in test_hostile_headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kheaders_adb.ebpf.assembly import clean, holds_no_directive, place, refused_in
from kheaders_adb.errors import CompileError


def nothing_read(path: str) -> bool:
    return False


def function(call: str, *, names: str = "") -> bytes:
    return f'target triple = "x"\n{names}define i32 @f(ptr %0) {{\n  {call}\n}}\n'.encode()


@pytest.mark.parametrize(
    ("template", "constraints"),
    [
        (b"", b"~{memory}"),
        (b"$0 = $1", b"=r,r"),
        (b"$0 += 1; ${1:w} = 2\n\t", b"=&r,w,0"),
        (b"$1 = 3", b"=r,0"),
        (b"l_${:uid}: r0 = 1\nif r0 > $0 goto l_${:uid}", b"i"),
        (b"r1 = *(u32 *)($0 + 4)\n*(u64 *)(r10 - 8) = r1", b"*m"),
        (b"1:\nlock *(u64 *)(r1 + 0) += r2 // .incbin", b""),
        (b'# .incbin "x"', b""),
        (b"r0 = 1.5", b""),
    ],
)
def test_what_programs_for_bpf_say(template: bytes, constraints: bytes) -> None:
    assert holds_no_directive(template, constraints)


@pytest.mark.parametrize(
    ("template", "constraints"),
    [
        (b".incbin", b""),
        (b"r0 = 1\n .x", b""),
        (b"a:.x", b""),
        (b"a: b: \t.x", b""),
        (b'".incbin" "x"', b""),
        (b"@x", b""),
        (b"$$x", b""),
        (b"\xa0.x", b""),
        (b"$0 x", b"i"),
        (b"$0 x", b"=*m"),
        (b"$0 x", b"r|i"),
        (b"$0 x", b"={ax}"),
        (b"$1 x", b"=r"),
        (b"$1 x", b"i,0"),
        (b"${0:c} x", b"r"),
        (b"${:comment} x", b""),
        (b"r0 = ${:private}", b""),
        (b"r0 = $(a$|b$)", b""),
        (b"$99999999999 x", b"r"),
    ],
)
def test_what_could_be_a_directive(template: bytes, constraints: bytes) -> None:
    assert not holds_no_directive(template, constraints)


def test_intels_dialect_is_not_understood() -> None:
    assert not holds_no_directive(b"nop", b"", b" sideeffect inteldialect")


SEPARATORS = st.sampled_from(
    [b"\n", b"\r", b";", b":", b"*/", b"\0", b" ", b"\t", b"\f", b"a", b"$0", b'"', b"#"]
)


@given(st.lists(SEPARATORS), st.lists(SEPARATORS))
def test_a_directive_behind_a_separator_is_seen_whatever_surrounds_it(
    before: list[bytes], blanks: list[bytes]
) -> None:
    for separator in (b"\n", b"\r", b";", b":", b"*/"):
        spaces = b"".join(blank for blank in blanks if blank in (b" ", b"\t", b"\0"))
        template = b"".join(before) + separator + spaces + b".incbin"
        assert not holds_no_directive(template, b"r")


def test_module_assembly_is_dropped_and_told() -> None:
    code = b'module asm ".macro \\22x\\22"\nmodule asm "\x1b"\n' + function("ret i32 0")
    cleaned = clean(code, nothing_read)
    assert cleaned.code == function("ret i32 0")
    assert cleaned.dropped == ('.macro "x"', "\\x1b")


def test_calls_of_every_kind_are_seen() -> None:
    for call in (
        'call void asm sideeffect ".x", "~{memory}"() #1, !srcloc !5',
        'tail call i64 asm sideeffect alignstack ".x", "=r,0"(i64 %1)',
        '%2 = call { i64, i32 } asm unwind "\\09.x", "=r,=r"()',
        'callbr void asm sideeffect ".x", "!i"()',
        'invoke void asm ".x", ""()',
    ):
        cleaned = clean(function(call), nothing_read)
        assert len(cleaned.refused) == 1, call
        assert b'".x"' not in cleaned.code
        assert cleaned.code.count(b"\n") == function(call).count(b"\n")
        said = b"<inline asm>:1:2: error: kheaders-adb: asm 0 is refused\n"
        assert refused_in(said, cleaned) is cleaned.refused[0]
        assert place(function(call), cleaned.refused[0]) == "function f"
    assert refused_in(b"kheaders-adb: asm 7 is refused", cleaned) is None
    assert refused_in(b"error: something else", cleaned) is None


def test_harmless_code_is_not_touched() -> None:
    code = function(
        'call void asm sideeffect "r0 = 1", ""()',
        names='@asm = global i32 0\n@"\\01_x" = global i32 0\n'
        '@s = constant c"call asm \\22.x\\22 @", section "x y"\n',
    )
    code += b'!1 = !DIFile(filename: "a.h", directory: "/x")\n!2 = !{!"!DIFile(asm ("}\n; asm "\n'
    asked = []
    cleaned = clean(code, lambda path: not asked.append(path))  # type: ignore[func-returns-value]
    assert cleaned.code == code
    assert asked == ["/x/a.h"]


@pytest.mark.parametrize(
    "line",
    [
        '  call void asm newflag "r0 = 1", ""()',
        "  call void asm %7",
        '!3 = !DIFile(directory: "/x", filename: "y")',
        '@"a b" = global i32 0',
        '@"\\01a\\0Ab" = global i32 0',
        '@"a;b" = global i32 0',
        '  %3 = load i32, ptr @"a*"',
    ],
)
def test_what_is_not_understood_is_refused(line: str) -> None:
    with pytest.raises(CompileError):
        clean(line.encode() + b"\n", nothing_read)


def test_files_that_were_not_read_get_names_that_are_none() -> None:
    lines = (
        b'!1 = !DIFile(filename: "a\\22b.h", directory: "")\n'
        b'!2 = distinct !DIFile(filename: "/etc/x", directory: "/d", checksumkind: CSK_MD5, checksum: "0")\n'
    )
    asked: list[str] = []
    cleaned = clean(lines, lambda path: asked.append(path) or False)  # type: ignore[func-returns-value]
    assert asked == ['a"b.h', "/etc/x"]
    assert b'filename: "a\\22b.h (#line)", directory: ""' in cleaned.code
    assert b'filename: "/etc/x (#line)", directory: "/d", checksumkind' in cleaned.code


def test_a_place_is_that_of_the_debug_information() -> None:
    code = function('call void asm ".x", ""(), !dbg !7') + (
        b'!3 = !DIFile(filename: "l/x.h", directory: "/t")\n'
        b'!5 = distinct !DISubprogram(name: "f", scope: !3, file: !3, line: 4)\n'
        b"!7 = !DILocation(line: 12, column: 3, scope: !5)\n"
    )
    assert place(code, clean(code, lambda _: True).refused[0]) == "/t/l/x.h:12"
