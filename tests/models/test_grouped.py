"""Merged groups against PyTorch's plain grouped convolution."""

from __future__ import annotations

import pytest
import torch
from helpers import relative_error
from torch.nn import functional as F

from resnext_backbones.models import grouped
from resnext_backbones.models.convolution import conv2d, conv2d_backward
from resnext_backbones.models.geometry import Geometry
from resnext_backbones.models.grouped import Merging


@pytest.fixture(autouse=True, params=[(1, 1, 1), (2, 4, 8), (8, 8, 8), (1, 1, 4)])
def _merged(request, monkeypatch) -> None:
    table = {
        ("cpu", dtype): {4: Merging(*request.param)} for dtype in (torch.float32, torch.float64)
    }
    monkeypatch.setattr(grouped, "MERGED", table)


def tensors(groups: int) -> tuple[torch.Tensor, ...]:
    x = torch.randn(2, 4 * groups, 9, 11)
    weight = torch.randn(8 * groups, 4, 3, 3)
    return x, weight, torch.randn(8 * groups)


@pytest.mark.parametrize("geometry", [((1, 1), (1, 1), (1, 1)), ((2, 2), (2, 2), (2, 2))])
def test_merged_groups_compute_the_same(geometry) -> None:
    x, weight, bias = (t.requires_grad_() for t in tensors(8))
    own = conv2d(x, weight, bias, Geometry(*geometry, groups=8))
    reference = F.conv2d(x, weight, bias, *geometry, groups=8)
    assert relative_error(own, reference) <= 1e-6
    upstream = torch.randn_like(reference)
    expected = torch.autograd.grad(reference, (x, weight, bias), upstream)
    by_autograd = torch.autograd.grad(own, (x, weight, bias), upstream)
    by_hand = conv2d_backward(upstream, x, weight, Geometry(*geometry, groups=8), (True,) * 3)
    for a, b, e in zip(by_autograd, by_hand, expected, strict=True):
        assert b is not None
        assert relative_error(a, e) <= 1e-5
        assert relative_error(b, e) <= 1e-5


def test_gradients_by_finite_differences() -> None:
    x = torch.randn(1, 32, 4, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(32, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    geometry = Geometry((1, 1), (1, 1), (1, 1), 8)
    assert torch.autograd.gradcheck(
        lambda x, weight: conv2d(x, weight, None, geometry), (x, weight), fast_mode=True
    )


def test_groups_that_do_not_merge_evenly_are_left_alone() -> None:
    x, weight, bias = tensors(3)
    own = conv2d(x, weight, bias, Geometry((1, 1), (1, 1), (1, 1), 3))
    assert torch.equal(own, F.conv2d(x, weight, bias, padding=1, groups=3))
