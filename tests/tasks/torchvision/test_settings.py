"""The schedules of the learning rate."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from resnext_backbones.tasks.torchvision import Settings


def test_the_learning_rate_follows_batch_and_epoch(settings: Callable[..., Settings]) -> None:
    run = settings(epochs=12)
    assert run.base_lr(16) == pytest.approx(0.02)
    assert run.base_lr(4) == pytest.approx(0.005)
    steps, lr = 2000, [run.lr_at(step, 2000, 16) for step in range(12 * 2000)]
    assert lr[0] == pytest.approx(0.02 / 1000)
    assert lr[499] == pytest.approx(0.01)
    assert lr[1000] == lr[8 * steps - 1] == pytest.approx(0.02)
    assert lr[8 * steps] == lr[11 * steps - 1] == pytest.approx(0.002)
    assert lr[11 * steps] == lr[-1] == pytest.approx(0.0002)
    longer = settings(epochs=26)
    assert [longer.lr_at(e * steps, steps, 16) for e in (15, 16, 22)] == pytest.approx(
        [0.02, 0.002, 0.0002]
    )
    segmentation = settings("fcn", epochs=30)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.02)
    peer = torch.optim.lr_scheduler.PolynomialLR(optimizer, 30 * 4, power=0.9)
    for step in range(30 * 4):
        assert segmentation.lr_at(step, 4, 32) == pytest.approx(peer.get_last_lr()[0])
        optimizer.step()
        peer.step()
