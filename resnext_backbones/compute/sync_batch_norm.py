"""Batch normalisation over the batches of all processes, with or without GPUs."""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm


class SyncBatchNorm(_BatchNorm):
    """PyTorch's on a GPU; on a CPU, which that does not know, from sums that autograd follows.

    It is none of PyTorch's class, since DistributedDataParallel refuses that on a CPU.
    """

    process_group = None
    _check_input_dim = nn.BatchNorm2d._check_input_dim
    _check_non_zero_input_channels = nn.SyncBatchNorm._check_non_zero_input_channels

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        if not self.training and self.running_mean is not None:  # a symbol of FX has no dimensions
            return functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        alone = not distributed.is_initialized() or distributed.get_world_size() == 1
        if alone or not self.training:  # PyTorch's would not take a CPU in a group of one
            return super().forward(x)
        if x.device.type != "cpu":
            return nn.SyncBatchNorm.forward(self, x)  # type: ignore[arg-type]
        values, axes = x.to(torch.promote_types(x.dtype, torch.float32)), (0, 2, 3)
        count = all_reduce(values.new_tensor(x.numel() // x.shape[1]))
        mean = all_reduce(values.sum(axes, keepdim=True)) / count
        centred = values - mean
        variance = all_reduce(centred.square().sum(axes, keepdim=True)) / count
        self._follow(mean, variance * count / (count - 1))
        scale = self.weight.reshape(mean.shape) * (variance + self.eps).rsqrt()
        return (centred * scale + self.bias.reshape(mean.shape)).to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:
            momentum = 1 / self.num_batches_tracked.item()
        self.running_mean.lerp_(mean.flatten(), momentum)
        self.running_var.lerp_(variance.flatten(), momentum)
