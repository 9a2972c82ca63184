"""What the tests of the device share."""

from __future__ import annotations

import os

from hypothesis import settings

# Ten times as many generated cases under `make test-long`.
SCALE = 10 if os.environ.get("KHEADERS_LONG") else 1


def generated(cases: int = 200) -> settings:
    """Settings of a generated test; no deadline, as machines that run tests are busy."""
    return settings(max_examples=cases * SCALE, deadline=None)
