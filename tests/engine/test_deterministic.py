"""A run is asked to repeat."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

pytest.importorskip("mmengine", reason="MMEngine is not installed")

import torch
from mmengine.config import Config

from resnext_backbones.engine.config import make_deterministic
from resnext_backbones.engine.runner import CheckedRunner
from resnext_backbones.engine.seeds import CUBLAS


@pytest.fixture
def flags(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The flags that PyTorch has now are put back."""
    monkeypatch.delenv(CUBLAS, raising=False)
    for name in ("benchmark", "deterministic"):
        monkeypatch.setattr(torch.backends.cudnn, name, name == "benchmark")
    before = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    yield
    torch.use_deterministic_algorithms(before, warn_only=warns)
    os.environ.pop(CUBLAS, None)


def flags_are_set() -> bool:
    cudnn = torch.backends.cudnn
    return (
        torch.are_deterministic_algorithms_enabled()
        and torch.is_deterministic_algorithms_warn_only_enabled()
        and (cudnn.deterministic, cudnn.benchmark) == (True, False)
        and os.environ[CUBLAS] == ":4096:8"
    )


@pytest.mark.usefixtures("flags")
@pytest.mark.parametrize(
    ("given", "seed"), [(None, 0), ({"seed": None}, 0), ({"seed": 7, "diff_rank_seed": True}, 7)]
)
def test_a_config_is_made_to_repeat(given: dict | None, seed: int) -> None:
    cfg = Config({"randomness": given, "env_cfg": {"cudnn_benchmark": True, "mp_cfg": {"a": 1}}})
    make_deterministic(cfg)
    assert cfg.randomness == {**(given or {}), "seed": seed, "deterministic": True}
    assert cfg.env_cfg == {"cudnn_benchmark": False, "mp_cfg": {"a": 1}}
    assert flags_are_set()


@pytest.mark.usefixtures("flags")
def test_the_runner_warns_where_mmengines_would_end() -> None:
    """MMEngine sets the flags as a runner is built, and again when one goes on."""
    runner = CheckedRunner.__new__(CheckedRunner)
    runner.set_randomness(3, deterministic=True)
    assert flags_are_set()
