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


def half(rank: int, file: str, images: torch.Tensor, results: Any) -> None:
    """One of two processes, with its half of a batch."""
    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    network = nn.Sequential(nn.BatchNorm2d(3, dtype=images.dtype))
    synchronise_norms(network)
    wrapped = nn.parallel.DistributedDataParallel(network)
    own = images.chunk(2)[rank].requires_grad_()
    out = wrapped(own)
    out.pow(3).sum().backward()
    results.put((rank, out.detach().numpy(), own.grad.numpy(), network[0].running_var.numpy()))
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_two_processes_normalise_as_one(dtype: torch.dtype, tmp_path: Path) -> None:
    images = torch.randn(4, 3, 5, 5, dtype=dtype)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    arguments = [(rank, str(tmp_path / "store"), images, results) for rank in range(2)]
    processes = [context.Process(target=half, args=each) for each in arguments]
    for process in processes:
        process.start()
    found = sorted((results.get(timeout=60) for _ in range(2)), key=lambda result: result[0])
    for process in processes:
        process.join(60)
    norm, whole = nn.BatchNorm2d(3, dtype=dtype), images.requires_grad_()
    norm(whole).pow(3).sum().backward()
    both = [torch.cat([torch.from_numpy(result[i]) for result in found]) for i in (1, 2)]
    torch.testing.assert_close(
        both[0], nn.BatchNorm2d(3, dtype=dtype)(images).detach(), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(both[1], whole.grad, rtol=1e-3, atol=1e-4)
    for result in found:
        torch.testing.assert_close(torch.from_numpy(result[3]), norm.running_var)
