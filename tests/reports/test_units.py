"""Times as people say them."""

from __future__ import annotations

import pytest

from resnext_backbones.reports.units import duration

SAID = {
    0.1234: "0.123 s",
    59: "59 s",
    119.7: "2 min 0 s",
    3599.6: "1 h 0 min",
    3_610_000: "1,002 h 46 min",
}


@pytest.mark.parametrize("seconds", SAID)
def test_no_minute_has_sixty_seconds(seconds: float) -> None:
    assert duration(seconds) == SAID[seconds]
