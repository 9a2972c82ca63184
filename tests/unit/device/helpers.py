"""What the tests of the device share."""

from __future__ import annotations

from hypothesis import settings

from tests.conftest import SCALE


def generated(cases: int = 200) -> settings:
    """Settings of a generated test; no deadline, as machines that run tests are busy."""
    return settings(max_examples=cases * SCALE, deadline=None)
