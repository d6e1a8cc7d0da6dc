"""A network becomes one program of PyTorch's operators, from which all formats are written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config as symbolic_shapes

from resnext_backbones.errors import InputError
from resnext_backbones.export.subject import INPUT, Subject
from resnext_backbones.models import ResNeXt

MADE_WITH = (2, 96, 160)
"""Images, height and width of the tensor that is traced; no file is checked with it."""

AXES = {0: "batch", 2: "height", 3: "width"}
"""These dimensions of the images are free."""


@contextmanager
def _contiguous(network: nn.Module) -> Iterator[None]:
    """Leaves images in the order that they have: whether a tensor is in channels_last order depends
    on whether its sizes are 1, which would then be settled. Runtimes have orders of their own.
    """
    trunks = [part for part in network.modules() if isinstance(part, ResNeXt)]
    before = [trunk.channels_last for trunk in trunks]
    try:
        for trunk in trunks:
            trunk.channels_last = False
        yield
    finally:
        for trunk, value in zip(trunks, before, strict=True):
            trunk.channels_last = value


def program_of(subject: Subject) -> ExportedProgram:
    """Returns the program of a network, for any number of images of any size that it takes.

    Raises:
        InputError: PyTorch cannot trace the network with free sizes; the message says why.
    """
    n, height, width = MADE_WITH
    images = torch.zeros(n, subject.in_channels, height, width)
    with (
        torch.no_grad(),
        # A batch of one image and a map of one pixel stay possible, though the tensor has more.
        symbolic_shapes.patch(backed_size_oblivious=True),  # type: ignore[attr-defined]
        _contiguous(subject.network),
    ):
        free = (dict.fromkeys(AXES, Dim.DYNAMIC),)
        try:
            return torch.export.export(subject.network, (images,), dynamic_shapes=free)
        except (RuntimeError, torch._dynamo.exc.UserError) as error:
            raise InputError(
                f"{subject.metadata.get('variant', INPUT)}: torch.export cannot trace it with a "
                f"free batch, height and width: {str(error).strip().splitlines()[0]}"
            ) from error
