"""The schedules of the learning rate, as the configs have them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn


def rates(cfg: Config, epochs: int, steps: int, lr: float = 0.02) -> list[float]:
    """The learning rate of every step."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    given = {"optimizer": optimizer, "epoch_length": steps}
    built = []
    for scheduler in cfg.param_scheduler:
        end = scheduler.get("end", epochs)
        built.append(PARAM_SCHEDULERS.build({**scheduler, "end": end}, default_args=given))
    found = []
    for step in range(epochs * steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in built:
            if not scheduler.by_epoch or (step + 1) % steps == 0:
                scheduler.step()
    return found


def test_a_detectors_rate_warms_up_and_falls(config: Callable[..., Config]) -> None:
    cfg = config()
    assert cfg.optim_wrapper.optimizer.lr == 0.02
    assert cfg.auto_scale_lr == {"enable": True, "base_batch_size": 16}
    steps = 1200
    lr = rates(cfg, 12, steps)
    assert lr[0] == pytest.approx(0.02 / 1000)
    assert lr[499] == pytest.approx(0.01)
    assert lr[1000] == lr[8 * steps - 1] == pytest.approx(0.02)
    assert lr[8 * steps] == lr[11 * steps - 1] == pytest.approx(0.002)
    assert lr[11 * steps] == lr[-1] == pytest.approx(0.0002)
    short = rates(cfg, 12, 4)
    assert short[:5] == pytest.approx([0.005, 0.01, 0.015, 0.02, 0.02]), "an epoch at most"


def test_a_segmentation_networks_rate_is_a_polynomial(config: Callable[..., Config]) -> None:
    cfg = config("fcn_x50_32x4d_coco")
    assert cfg.auto_scale_lr.base_batch_size == 32
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.02)
    peer = torch.optim.lr_scheduler.PolynomialLR(optimizer, 30 * 4, power=0.9)
    for lr in rates(cfg, 30, 4):
        assert lr == pytest.approx(peer.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        peer.step()
