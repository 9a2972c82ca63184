"""What a test demands of the kernel that it runs on."""

from __future__ import annotations

from typing import Any

import pytest

from kheaders_adb.errors import UsageError
from kheaders_adb.kernel.demand import Demand
from kheaders_adb.model import KernelIdentity, Level, Verdict

KERNEL = KernelIdentity(release="6.1.75-android14-11", version="#1", machine="aarch64")
CONSISTENT = Verdict(Level.CONSISTENT)


@pytest.mark.parametrize(
    "demand",
    [
        {},
        {"release": "6.1"},
        {"release": ">=6.1"},
        {"release": "<=6.1"},
        {"release": ">= 5.10, <6.6"},
        {"release": ">5.15.200"},
        {"release": "!=6.2"},
        {"release": "6.1.75.0"},
        {"arch": "arm64"},
        {"arch": "aarch64"},
        {"level": "consistent"},
        {"level": ("exact", "consistent")},
        {"release": ">=6", "arch": "arm64", "level": "consistent"},
    ],
    ids=str,
)
def test_met(demand: dict[str, Any]) -> None:
    assert Demand.of(**demand).unmet(KERNEL, CONSISTENT) == ()


@pytest.mark.parametrize(
    ("demand", "said"),
    [
        ({"release": ">6.1"}, "the kernel's release is 6.1.75-android14-11, wanted is >6.1"),
        ({"release": "<6.1"}, "wanted is <6.1"),
        ({"release": ">=5.10,<6"}, "wanted is >=5.10,<6"),
        ({"release": ">=6.10"}, "wanted is >=6.10"),
        ({"release": "6.1.7"}, "wanted is 6.1.7"),
        ({"arch": "arm"}, "the kernel's architecture is aarch64, wanted is arm"),
        ({"arch": "x86_64"}, "wanted is x86_64"),
        ({"level": "exact"}, "the headers are consistent, wanted is exact"),
        ({"level": ["exact", "repaired"]}, "wanted is exact or repaired"),
    ],
    ids=str,
)
def test_unmet(demand: dict[str, Any], said: str) -> None:
    (reason,) = Demand.of(**demand).unmet(KERNEL, CONSISTENT)
    assert reason.endswith(said)


def test_everything_that_is_unmet_is_said() -> None:
    assert len(Demand.of(release="5", arch="x86", level="exact").unmet(KERNEL, CONSISTENT)) == 3


@pytest.mark.parametrize(
    ("demand", "said"),
    [
        ({"release": ""}, "release: '' is no condition"),
        ({"release": "=>6.1"}, "release: '=>6.1' is no condition"),
        ({"release": "6.1,"}, "release: '6.1,' is no condition"),
        ({"arch": "amr64"}, "arch: 'amr64' is no architecture that is known here"),
        ({"level": "exakt"}, "level: 'exakt' is no level"),
    ],
    ids=str,
)
def test_what_no_kernel_could_meet_is_refused(demand: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Demand.of(**demand)
