"""The peak that PyTorch's profiler saw, as the benchmark of plans reads it."""

from __future__ import annotations

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.plan import highest

FLOAT = 4


def test_the_peak_of_a_small_network_is_that_by_hand() -> None:
    images, features, hidden = 500, 300, 700
    inputs = torch.ones(images, features)
    first = torch.zeros(hidden, features, requires_grad=True)
    last = torch.zeros(1, hidden, requires_grad=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        outputs = (inputs @ first.T).relu() @ last.T
        outputs.backward(torch.ones_like(outputs))
    # What the ReLU returned, its gradient and that of its inputs, which are gone by then; the
    # outputs, their gradient, and that of the last weights.
    assert highest(found) == FLOAT * (3 * images * hidden + 2 * images + hidden)
