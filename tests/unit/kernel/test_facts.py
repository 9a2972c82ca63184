"""What archives say about their kernels, old ones and new ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kheaders_adb.archive.reader import read_archive
from kheaders_adb.errors import ArchiveError, CorruptArchiveError
from kheaders_adb.kernel.facts import FactCollector, require_kheaders
from kheaders_adb.model import ArchiveFacts
from tests.unit.archive.helpers import SMALL, rule_of

_GENERATED = "include/generated/"


def collect(members: dict[str, bytes]) -> ArchiveFacts:
    collector = FactCollector()
    for path, content in members.items():
        collector.add(path, content)
    return collector.facts()


def real_facts() -> ArchiveFacts:
    collector = FactCollector()
    for member, content in read_archive([SMALL.read_bytes()]):
        collector.add(member.path, content)
    return collector.facts()


def test_real_archive() -> None:
    facts = real_facts()
    assert facts.config is not None
    assert len(facts.config) == 696
    assert replace(facts, config=None) == ArchiveFacts(
        release="6.1.192-android14-lab",
        srcarch="x86",
        config=None,
        compile_by="lab",
        compile_host="lab",
        compiler="gcc (Debian 12.2.0-14+deb12u1) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40",
        uts_machine="x86_64",
        uts_version=None,
        version_code=393664,
    )
    require_kheaders(facts)


def test_compile_h_of_older_kernels() -> None:
    facts = collect(
        {
            _GENERATED + "compile.h": b"/* This file is auto generated, version 1 */\n"
            b'/* SMP PREEMPT */\n#define UTS_MACHINE "aarch64"\n'
            b'#define UTS_VERSION "#1 SMP PREEMPT Thu Jan 1 00:00:00 UTC 1970"\n'
            b'#define LINUX_COMPILE_BY "build-user"\n#define LINUX_COMPILE_HOST "build-host"\n'
            b'#define LINUX_COMPILER "Android clang (\\"x\\") version 11.0.1"\n'
        }
    )
    assert facts.uts_version == "#1 SMP PREEMPT Thu Jan 1 00:00:00 UTC 1970"
    assert (facts.compile_by, facts.compile_host) == ("build-user", "build-host")
    assert facts.compiler == 'Android clang ("x") version 11.0.1'


def test_a_stale_utsversion_is_not_believed() -> None:
    facts = collect({_GENERATED + "utsversion.h": b'#define UTS_VERSION "#1 SMP old"\n'})
    assert facts.uts_version is None


def test_srcarch_is_known_only_if_there_is_one() -> None:
    assert collect({"arch/arm64/include/asm/ptrace.h": b""}).srcarch == "arm64"
    assert collect({"arch/x86/include": b""}).srcarch == "x86"
    two = {"arch/x86/include/asm/a.h": b"", "arch/arm/include/asm/a.h": b""}
    assert collect(two).srcarch is None
    assert collect({"arch/x86/boot/a.h": b"", "arch/x86": b""}).srcarch is None


@pytest.mark.parametrize(
    "members",
    [
        {},
        {_GENERATED + "utsrelease.h": b'#define UTS_RELEASE "6.1"\n'},
        {_GENERATED + "autoconf.h": b"#define CONFIG_SMP 1\n"},
        {
            _GENERATED + "autoconf.h": b"\n",
            _GENERATED + "utsrelease.h": b'#define UTS_RELEASE "6.1"\n',
        },
        {
            _GENERATED + "autoconf.h": b"#define CONFIG_SMP 1\n",
            _GENERATED + "utsrelease.h": b"#define UTS_RELEASE 6.1\n",
        },
        {
            _GENERATED + "autoconf.h": b"#define CONFIG_SMP 1\n",
            _GENERATED + "utsrelease.h": b'#define UTS_RELEASE ""\n',
        },
    ],
)
def test_other_archives_are_not_kheaders(members: dict[str, bytes]) -> None:
    with pytest.raises(CorruptArchiveError) as caught:
        require_kheaders(collect(members))
    assert rule_of(caught.value) == "not-kheaders"


_PATHS = st.sampled_from(
    [_GENERATED + name for name in ("autoconf.h", "utsrelease.h", "compile.h")]
    + [_GENERATED + "uapi/linux/version.h", "arch/x86/include/a.h", "arch/", "include/a.h"]
)
_CONTENTS = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [
            b'#define UTS_RELEASE "\n',
            b'#define UTS_RELEASE "\\"\n',
            b"#define LINUX_VERSION_CODE 99999999999999999999\n",
            b"#define LINUX_VERSION_CODE \xd9\xa1\n",
            b"#define CONFIG_ 1\n#define CONFIG__MODULE 1\n",
            b"#define\xc2\xa0CONFIG_X 1\n",
        ]
    ),
)


@given(st.dictionaries(_PATHS, _CONTENTS))
def test_no_other_errors(members: dict[str, bytes]) -> None:
    try:
        collect(members)
    except ArchiveError as error:
        rule_of(error)
