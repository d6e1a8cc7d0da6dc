"""What runs in the tests' own process do without."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _curves_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws the curves of a run once: a picture takes longer than an epoch of a small network."""
    try:
        from resnext_backbones.engine.curves import CurvesHook
    except ImportError:  # without MMEngine
        return
    draw = CurvesHook.after_val_epoch

    def at_the_end(hook: CurvesHook, runner: Any, metrics: dict[str, float] | None = None) -> None:
        if metrics is None:
            draw(hook, runner)

    monkeypatch.setattr(CurvesHook, "after_val_epoch", at_the_end)
