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
    # The product, which nobody keeps, and its ReLU, which the second layer and the ReLU keep;
    # then, beside that, the gradients of the ReLU and of the product, with little ones about.
    much, weights, little = images * hidden, hidden * features, 4 * (images + hidden)
    peak = highest(found) / FLOAT
    assert 3 * much <= peak <= 3 * much + little
    assert weights < much  # whose gradient comes when one of the three is gone
    assert peak < 3 * much + weights
