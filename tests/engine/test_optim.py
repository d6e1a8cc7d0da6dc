"""bfloat16 where there is no GPU, and rates that are for other steps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from resnext_backbones.engine.hooks import unlike_rate
from resnext_backbones.engine.optim import Bfloat16OptimWrapper


def test_the_forward_pass_is_in_bfloat16_and_the_weights_are_not() -> None:
    model = nn.Linear(4, 4)
    wrapper = Bfloat16OptimWrapper(torch.optim.SGD(model.parameters(), lr=1.0))
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        out = model(torch.ones(2, 4))
    assert out.dtype == torch.bfloat16
    wrapper.update_params(out.float().sum())
    assert model.weight.dtype == torch.float32
    assert not torch.equal(model.weight, before)
    assert model(torch.ones(2, 4)).dtype == torch.float32


def test_a_rate_is_for_the_images_of_a_step_in_all_its_parts() -> None:
    cfg = {"auto_scale_lr": {"base_batch_size": 16}, "optim_wrapper": {"accumulative_counts": 2}}
    assert not unlike_rate(cfg, 8)
    said = unlike_rate(cfg, 16)
    assert "is for 16 images a step, and there are 32" in said
    assert "auto_scale_lr.base_batch_size=8 scales it" in said, "as MMEngine counts the images"
    assert "base_batch_size=" not in unlike_rate({"auto_scale_lr": cfg["auto_scale_lr"]}, 32)
    assert not unlike_rate({**cfg, "auto_scale_lr": {"base_batch_size": 16, "enable": True}}, 16)
    assert not unlike_rate({}, 8)
