"""What fake tensors answer, and what a program makes of it."""

from __future__ import annotations

import pytest
import torch

from resnext_backbones.engine.plan.answers import answered, limit
from resnext_backbones.engine.plan.step import fake_tensors


def _drawn(mask_of: int, number: int) -> torch.Tensor:
    """Returns places that a sampler draws, by a mask, as torchvision's does."""
    found = torch.where(torch.empty(mask_of) > 0.5)[0]
    drawn = found[torch.randperm(found.numel())[:number]]
    mask = torch.zeros(mask_of, dtype=torch.uint8)
    mask[drawn] = 1
    return mask


def test_all_are_found_but_of_what_was_drawn_so_many() -> None:
    def run() -> tuple[int, ...]:
        scores = torch.empty(50, 4)
        both = _drawn(50, 7) | _drawn(50, 9)
        labels = torch.empty(50, dtype=torch.long)
        limit(labels, 5)
        return (
            len(scores[scores[:, 0] > 0.5]),
            len(torch.where(both)[0]),
            len(torch.where(labels > 0)[0]),
            len(torch.ops.torchvision.nms(scores, scores[:, 0], 0.5)),
            len(torch.empty(50).masked_select(both.bool())),
        )

    with fake_tensors():
        assert answered(run) == (50, 16, 5, 50, 16)


def test_what_is_true_of_zeros_too_is_found_everywhere() -> None:
    def run() -> tuple[int, ...]:
        few = torch.zeros(100, dtype=torch.long)
        few[torch.empty(10, dtype=torch.long)] = 1
        kinds = few > 0, few >= 1, few != 0, few >= 0, few != 1
        repeated = few[torch.empty(300, dtype=torch.long)] > 0
        return *(len(kind.nonzero()) for kind in kinds), len(repeated.nonzero())

    with fake_tensors():
        assert answered(run) == (10, 10, 10, 100, 100, 30)


def test_a_check_that_fails_is_answered_the_other_way() -> None:
    def run() -> str:
        boxes = torch.empty(3, 4)
        if not (boxes > 0).any():
            raise ValueError("none is inside")
        if (boxes < 0).any():
            raise ValueError("one is degenerate")
        return "went on"

    with fake_tensors():
        assert answered(run) == "went on"


def test_what_fails_with_every_answer_fails_as_at_first() -> None:
    def run() -> None:
        raise ValueError("positive" if torch.empty(2).sum() > 0 else "not")

    with fake_tensors(), pytest.raises(ValueError, match="positive"):
        answered(run)


def test_fake_values_can_be_read_on_the_processor() -> None:
    with fake_tensors():
        assert answered(lambda: torch.empty(2, 3).numpy().shape) == (2, 3)
        assert answered(lambda: torch.empty(2, dtype=torch.long).tolist()) == [1, 1]


def test_shares_that_are_drawn_and_comparisons_of_two_tensors_are_fake_as_well() -> None:
    def run() -> tuple[int, int]:
        shares = torch.distributions.Dirichlet(torch.ones(2)).sample((1,))
        mask = torch.zeros(9)
        mask[torch.arange(3)] = 1
        return shares.numel(), len(torch.where(mask > torch.empty(9))[0])

    with fake_tensors():
        assert answered(run) == (2, 9)
