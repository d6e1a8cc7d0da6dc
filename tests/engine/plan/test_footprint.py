"""A step's memory beside that of a real one: where it is fitted, and with gradients there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from torch import Tensor, nn

from resnext_backbones.engine.plan.footprint import footprint
from resnext_backbones.engine.plan.step import Ready, build, take_step
from resnext_backbones.engine.plan.storages import LiveStorages

REGIONS = 64


@torch.library.custom_op("resnext_tests::compiled_by_others", mutates_args=())
def compiled_by_others(x: Tensor) -> Tensor:
    """Doubles; fake tensors do not know it."""
    return x * 2


compiled_by_others.register_autograd(lambda _, grad: grad * 2)


class Network(BaseModel):
    """Has convolutions, and a head with many parameters on a number of regions of an image."""

    def __init__(self, unknown: bool) -> None:
        super().__init__()
        self.unknown = unknown
        self.trunk = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(16 * 49, 1024), nn.ReLU(), nn.Linear(1024, 4))

    def forward(self, inputs: Tensor, mode: str = "tensor") -> Any:
        assert mode == "loss"
        assert MessageHub.get_current_instance().get_info("iter") == 0  # as YOLOX asks
        x = self.trunk(inputs)
        if self.unknown:
            x = compiled_by_others(x)
        regions = nn.functional.adaptive_avg_pool2d(x, 7).flatten(1).repeat(REGIONS, 1)
        return {"loss": self.head(regions).square().mean() + x.mean()}


def _config(unknown: bool) -> Config:
    sgd = {"type": "SGD", "lr": 0.01, "momentum": 0.9}
    return Config({
        "model": {"type": Network, "unknown": unknown}, "optim_wrapper": {"optimizer": sgd}
    })  # fmt: skip


def _batch(images: int, size: tuple[int, int]) -> Callable[[], Any]:
    return lambda: {"inputs": torch.zeros(images, 3, *size)}


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("size", [(320, 448), (96, 96), (64, 64)])
def test_what_fake_tensors_cannot_pass_is_fitted_to_real_steps(
    images: int, size: tuple[int, int]
) -> None:
    cfg = _config(unknown=True)
    fitted, why = footprint(cfg, _batch, images, size, "")
    assert "compiled_by_others" in why
    real = take_step(build(cfg), _batch(images, size), amp=None)
    assert fitted[:3] == real[:3]
    assert fitted.kept == pytest.approx(real.kept, rel=0.2)
    assert fitted.peak == pytest.approx(real.peak, rel=0.2)


def test_what_they_pass_is_counted_to_the_byte() -> None:
    cfg = _config(unknown=False)
    taken, why = footprint(cfg, _batch, 2, (64, 96), "")
    assert not why
    assert taken == take_step(build(cfg), _batch(2, (64, 96)), amp=None)


@pytest.mark.parametrize("size", [(16, 16), (128, 192)])
def test_a_part_of_a_batch_finds_the_gradients_of_another(size: tuple[int, int]) -> None:
    ready = build(_config(unknown=False))
    planned = take_step(ready, _batch(2, size), amp=None).accumulated()
    real = _peak_with_gradients(ready, _batch(2, size))
    assert planned.peak == pytest.approx(real, abs=16)  # a step holds a scalar more


def _peak_with_gradients(ready: Ready, data: Callable[[], Any]) -> int:
    model: Any = ready.model
    states = ready.wrapper.optimizer.state.values()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    with LiveStorages() as live:
        live.hold(model.parameters())
        live.hold(parameter.grad for parameter in model.parameters())
        live.hold(state["momentum_buffer"] for state in states)
        loss, _ = model.parse_losses(model(**data(), mode="loss"))
        loss.backward()
        ready.wrapper.step()
        return live.peak
