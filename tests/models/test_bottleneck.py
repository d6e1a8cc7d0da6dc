"""What a block does in training beside its arithmetic: recomputing, and being passed by."""

from __future__ import annotations

import pytest
import torch
from helpers import relative_error, small
from torch.nn.modules.batchnorm import _BatchNorm


@pytest.mark.parametrize("norm", ["BN", "SyncBN"])
def test_checkpointing_changes_nothing_but_memory(norm: str) -> None:
    plain, cp = (
        small(norm=norm, **options).double()
        for options in ({"zero_init_last_norm": False}, {"recompute": True})
    )
    cp.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    kept = []
    for model in (plain, cp):
        sizes = {}

        def pack(tensor: torch.Tensor, sizes: dict = sizes) -> torch.Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = sum(output.pow(2).mean() for output in model(images))
        kept.append(sum(sizes.values()))
        loss.backward()
    assert kept[1] < kept[0] / 2
    for (name, value), reference in zip(cp.named_parameters(), plain.parameters(), strict=True):
        assert relative_error(value.grad, reference.grad) <= 1e-12, name
    for (name, value), reference in zip(cp.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(value, reference), f"{name}: counted twice"
    norms = [m for m in cp.modules() if isinstance(m, _BatchNorm)]
    assert all(m.momentum == 0.1 and m.num_batches_tracked == 1 for m in norms)


def test_a_shortcut_may_lose_its_norm() -> None:
    network, images = small().eval(), torch.randn(1, 3, 64, 64)
    del network.layer1[0].downsample[1]
    block, x = network.layer1[0], network.forward_stem(images)
    assert torch.equal(block.downsample(x), block.downsample[0](x))
    assert len(network(images)) == 4


def test_checkpointing_reaches_the_first_block_behind_frozen_stages() -> None:
    block = small(recompute=True, frozen_stages=1).stages[1][0]
    saved = []
    x = torch.randn(1, 64, 16, 16)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        block(x)
    # Some versions of PyTorch keep a tensor of no values as well.
    assert sum(t.numel() > 0 for t in saved) <= 2, "the input, and the sum that ReLU keeps"


def test_the_chance_to_be_passed_by_grows_block_by_block() -> None:
    model = small(blocks=(2, 2, 1), drop_path=0.4)
    chances = [block.drop_path.p if block.drop_path else 0.0 for block in model.blocks()]
    assert chances == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_a_block_that_is_passed_by_gives_its_shortcut() -> None:
    torch.manual_seed(0)
    model = small(drop_path=0.5)
    block = model.layer4[-1]
    block.drop_path.p = 1 - 1e-9
    x = torch.rand(2, block.conv1.in_channels, 8, 8)
    shortcut = torch.relu(block.downsample(x))
    assert relative_error(block(x), shortcut) <= 1e-6
    assert relative_error(block.eval()(x), shortcut) > 0.1


def test_in_evaluation_no_block_is_passed_by() -> None:
    images = torch.randn(2, 3, 64, 64)
    plain, dropping = small().eval(), small(drop_path=0.5).eval()
    dropping.load_state_dict(plain.state_dict())
    for a, b in zip(plain(images), dropping(images), strict=True):
        assert torch.equal(a, b)


def test_on_average_the_branch_keeps_its_size() -> None:
    torch.manual_seed(0)
    block = small(drop_path=0.25).layer4[-1]
    x = torch.rand(4096, block.conv1.in_channels, 1, 1)
    kept = block.drop_path(torch.ones_like(x))
    assert kept.mean().item() == pytest.approx(1, abs=0.05)
    assert sorted(set(kept[:, 0, 0, 0].tolist())) == pytest.approx([0, 1 / 0.75])
