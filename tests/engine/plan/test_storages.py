"""Which bytes are alive."""

from __future__ import annotations

import pytest
import torch
from helpers import drawn

from resnext_backbones.engine.plan.step import fake_tensors
from resnext_backbones.engine.plan.storages import LiveStorages


def test_a_view_is_no_more_and_what_is_gone_no_longer_counts() -> None:
    held = torch.zeros(256)
    part = held[:10]
    with LiveStorages() as live:
        assert live.hold([held, part]) == 1024
        made = torch.ones(512)
        view = made.view(2, 256)
        assert live.now == 3072
        live.begin_peak()
        del made
        assert live.now == 3072
        del view
        torch.ones(256)
        assert (live.now, live.peak) == (1024, 3072)


def _kept_and_peak(mode: str | bool, amp: bool, frozen: bool) -> tuple[int, int]:
    model = drawn(recompute=mode, norm_eval=True, frozen_stages=1 if frozen else -1).train()
    with LiveStorages() as live:
        live.hold([*model.parameters(), *model.buffers()])
        before = live.now
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            outputs = model(torch.ones(1, 3, 64, 64))
        kept = live.now - before
        sum(output.float().sum() for output in outputs).backward()
        return kept, live.peak


@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("mode", [False, "inner", "pair"])
def test_a_trunk_of_fake_tensors_keeps_what_a_real_one_does(mode: str | bool, amp: bool) -> None:
    real = _kept_and_peak(mode, amp, frozen=True)
    with fake_tensors():
        fake = _kept_and_peak(mode, amp, frozen=True)
    assert fake[0] == real[0]
    assert fake[1] == pytest.approx(real[1], rel=0.01)
