"""What a program demands of a kernel and of the headers that are staged for it."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kheaders_adb.errors import UsageError
from kheaders_adb.kernel.match import is_srcarch, srcarch_of
from kheaders_adb.model import KernelIdentity, Level, Verdict

_CONDITION = re.compile(r"(?P<sign>[<>=!]=|[<>])?\s*(?P<number>\d+(?:\.\d+){0,3})")
_SIGNS: dict[str | None, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    None: operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True, slots=True)
class Demand:
    """Conditions, all of which have to be met.

    Attributes:
        release: conditions on ``uname -r``, such as ">=5.10, <6.6"; without a sign, that it begins so.
            Numbers are compared as far as the condition has them: 6.1.75 is neither >6.1 nor <6.1.
        arch: the kernel's name of the architecture ("arm64"), or what ``uname -m`` says ("aarch64").
        levels: the levels of which the verdict must be one.
    """

    release: str | None = None
    arch: str | None = None
    levels: tuple[Level, ...] = ()

    @classmethod
    def of(
        cls,
        *,
        release: str | None = None,
        arch: str | None = None,
        level: str | Iterable[str] | None = None,
    ) -> Demand:
        """What somebody wrote; `level` may be several.

        Raises:
            UsageError: it is no condition, and would be met by no kernel or by all.
        """
        for text in release.split(",") if release is not None else ():
            if not _CONDITION.fullmatch(text.strip()):
                raise UsageError(
                    f"release: {release!r} is no condition",
                    hint="give one such as >=6.1 or >=5.10,<6.6",
                )
        if arch is not None and srcarch_of(arch) is None and not is_srcarch(arch):
            raise UsageError(
                f"arch: {arch!r} is no architecture that is known here",
                hint="give one such as arm64 or x86",
            )
        given = (level,) if isinstance(level, str) else tuple(level or ())
        if unknown := [one for one in given if one not in list(Level)]:
            raise UsageError(
                f"level: {unknown[0]!r} is no level", hint="give exact or consistent, or several"
            )
        return cls(release, arch, tuple(map(Level, given)))

    def unmet(self, kernel: KernelIdentity, verdict: Verdict) -> tuple[str, ...]:
        """Which of the conditions are not met, in sentences; none where all are."""
        said = []
        conditions = self.release.split(",") if self.release is not None else []
        if not all(_is_met(text.strip(), kernel.release) for text in conditions):
            said.append(f"the kernel's release is {kernel.release}, wanted is {self.release}")
        if self.arch is not None and self.arch not in (kernel.machine, srcarch_of(kernel.machine)):
            said.append(f"the kernel's architecture is {kernel.machine}, wanted is {self.arch}")
        if self.levels and verdict.level not in self.levels:
            wanted = " or ".join(self.levels)
            said.append(f"the headers are {verdict.level}, wanted is {wanted}")
        return tuple(said)


def _is_met(condition: str, release: str) -> bool:
    found = _CONDITION.fullmatch(condition)
    begin = re.match(r"\d+(?:\.\d+)*", release)
    if found is None or begin is None:
        return False
    wanted = tuple(map(int, found["number"].split(".")))
    actual = (*map(int, begin[0].split(".")), 0, 0, 0, 0)
    return _SIGNS[found["sign"]](actual[: len(wanted)], wanted)
