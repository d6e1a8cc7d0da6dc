"""A selective kernel is two convolutions, between which each image chooses for each channel."""

from __future__ import annotations

from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from resnext_backbones.compute.plain import is_traced
from resnext_backbones.compute.steps import Steps
from resnext_backbones.compute.sync_batch_norm import SyncBatchNorm
from resnext_backbones.models.layers import Layers

PATHS = 2
STEP = 32
"""The reduced width is a multiple of it."""


class SelectiveKernel(nn.Module):
    """Weighs a 3x3 and a dilated 3x3 convolution, Li et al. (2019), section 3.1, as timm has it.

    The dilated one stands for one of 5x5. Names are timm's; norms and ReLU are in it.
    """

    def __init__(
        self, channels: int, layers: Layers, *, groups: int, stride: int, dilation: int
    ) -> None:
        super().__init__()
        self.paths = nn.ModuleList()
        for i in range(PATHS):
            each = dilation * (i + 1)
            geometry = {"groups": groups, "stride": stride, "padding": each, "dilation": each}
            relu = nn.ReLU(inplace=True)
            self.paths.append(layers.step(channels, channels, 3, activation=relu, **geometry))
        reduced = reduced_width(channels)
        self.attn = Steps(fold=layers.fold_norm)
        self.attn.fc_reduce = layers.conv(channels, reduced, 1)
        norm = layers.norm(reduced)
        if isinstance(norm, nn.GroupNorm) and norm.num_groups == reduced:
            raise ValueError(
                "norm must have groups of several channels where a selective kernel (SK) "
                f"normalises averages of images: {reduced} groups of {reduced} channels have one "
                "value each, and make it zero"
            )
        setattr(self.attn, layers.norm.name, norm)
        self.attn.act = nn.ReLU(inplace=True)
        self.attn.fc_select = layers.conv(reduced, PATHS * channels, 1)

    def own_layers(self) -> list[nn.Module]:
        """Returns the layers whose weights the network draws."""
        return list(self.modules())

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C, ceil(H / stride), ceil(W / stride)).

        Raises:
            ValueError: a batch norm that is trained has one value of a channel: one image in all.
        """
        small, large = (path(x) for path in self.paths)
        if not is_traced(x) and any(map(_needs_others, self.attn)) and x.shape[0] == 1:
            raise ValueError(
                "a selective kernel (SK) normalises averages of images, and cannot train on one in "
                "a batch: give it 2 or more, norm_eval=True, or the norm SyncBN on several devices"
            )
        chosen = self.attn((small + large).mean((2, 3), keepdim=True))
        first, second = chosen.unflatten(1, (PATHS, -1)).softmax(1).unbind(1)
        return small * first + large * second


def _needs_others(module: nn.Module) -> bool:
    """Returns whether it is a batch norm that is trained, of the images of this process alone."""
    if not isinstance(module, _BatchNorm) or not module.training:
        return False
    synced = isinstance(module, SyncBatchNorm | nn.SyncBatchNorm)
    return not (synced and distributed.is_initialized() and distributed.get_world_size() > 1)


def reduced_width(channels: int) -> int:
    """Returns a sixteenth of the channels, rounded to a multiple of `STEP` as timm rounds it, which
    takes away a tenth at most.
    """
    wanted = channels / 16
    nearest = max(STEP, int(wanted + STEP / 2) // STEP * STEP)
    return nearest + STEP if nearest < 0.9 * wanted else nearest
