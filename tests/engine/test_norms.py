"""Batch norms that follow all processes, without a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, multiprocessing, nn

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from resnext_backbones.engine.norms import SyncBatchNorm, synchronise_norms, use_own


def test_norms_that_are_synchronised_stay_frozen() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4)), nn.Identity())
    frozen: Any = network[1][0]
    frozen.eval().requires_grad_(False)
    before = list(network.state_dict())
    synchronise_norms(network)
    (norm,) = (m for m in network.modules() if isinstance(m, SyncBatchNorm))
    assert norm.weight is frozen.weight
    assert not norm.weight.requires_grad
    assert not norm.training
    assert norm.running_mean is frozen.running_mean
    assert list(network.state_dict()) == before


def test_a_configs_norms_become_this_packages() -> None:
    """They are no BN: the statistics are those of all processes."""
    mmcv_cnn = pytest.importorskip("mmcv.cnn", reason="mmcv is not installed")
    for norm in ({"type": "SyncBN", "eps": 1e-3}, {"type": "MMSyncBN", "stats_mode": "N"}):
        cfg: dict[str, Any] = {**norm, "requires_grad": False}
        use_own([cfg])
        name, layer = mmcv_cnn.build_norm_layer(cfg, 8, postfix=1)
        assert (name, type(layer)) == ("bn1", SyncBatchNorm)
        assert layer.eps == norm.get("eps", 1e-5)
        assert not layer.weight.requires_grad


def test_one_process_is_enough(tmp_path: Path) -> None:
    """As torchrun makes a group of it; without a GPU, PyTorch's own refuses that."""
    norm, images = SyncBatchNorm(3), torch.randn(4, 3, 5, 5)
    options = {"init_method": f"file://{tmp_path / 'store'}", "rank": 0, "world_size": 1}
    distributed.init_process_group("gloo", **options)
    try:
        out = norm(images)
    finally:
        distributed.destroy_process_group()
    peer = nn.BatchNorm2d(3)
    assert torch.equal(out, peer(images))
    assert torch.equal(norm.running_var, peer.running_var)


DTYPES = torch.float32, torch.float64


def half(rank: int, file: str, batches: list[torch.Tensor], results: Any) -> None:
    """One of two processes, with its half of each batch."""
    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    found = []
    for images in batches:
        network = nn.Sequential(nn.BatchNorm2d(3, dtype=images.dtype))
        synchronise_norms(network)
        wrapped = nn.parallel.DistributedDataParallel(network)
        own = images.chunk(2)[rank].requires_grad_()
        out = wrapped(own)
        out.pow(3).sum().backward()
        found.append((out.detach().numpy(), own.grad.numpy(), network[0].running_var.numpy()))
    results.put((rank, found))
    distributed.barrier()
    distributed.destroy_process_group()


def test_two_processes_normalise_as_one(tmp_path: Path) -> None:
    batches = [torch.randn(4, 3, 5, 5, dtype=dtype) for dtype in DTYPES]
    # Where autograd has threads, as after other tests, a process that is forked has no backward.
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    arguments = [(rank, str(tmp_path / "store"), batches, results) for rank in range(2)]
    processes = [context.Process(target=half, args=each) for each in arguments]
    for process in processes:
        process.start()
    ranks = dict(results.get(timeout=120) for _ in range(2))
    for process in processes:
        process.join(60)
    for number, images in enumerate(batches):
        norm, whole = nn.BatchNorm2d(3, dtype=images.dtype), images.requires_grad_()
        out = norm(whole)
        out.pow(3).sum().backward()
        found = [[torch.from_numpy(each) for each in ranks[rank][number]] for rank in range(2)]
        outs, gradients, variances = zip(*found, strict=True)
        torch.testing.assert_close(torch.cat(outs), out.detach(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(torch.cat(gradients), whole.grad, rtol=1e-3, atol=1e-4)
        for variance in variances:
            torch.testing.assert_close(variance, norm.running_var)
