"""A network becomes one program of PyTorch's operators, from which all formats are written."""

from __future__ import annotations

import torch
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config as symbolic_shapes

from resnext_backbones.errors import InputError
from resnext_backbones.export.subject import INPUT, Subject

MADE_WITH = (2, 96, 160)
"""Images, height and width of the tensor that is traced; no file is checked with it."""

AXES = {0: "batch", 2: "height", 3: "width"}
"""These dimensions of the images are free."""


def program_of(subject: Subject) -> ExportedProgram:
    """Returns the program of a network, for any number of images of any size that it takes.

    Raises:
        InputError: PyTorch cannot trace the network with free sizes; the message says why.
    """
    n, height, width = MADE_WITH
    images = torch.zeros(n, subject.in_channels, height, width)
    # Sizes of 0 and 1 stay possible: a batch of one image, a map of one pixel.
    with torch.no_grad(), symbolic_shapes.patch(backed_size_oblivious=True):
        free = (dict.fromkeys(AXES, Dim.DYNAMIC),)
        try:
            return torch.export.export(subject.network, (images,), dynamic_shapes=free)
        except (RuntimeError, torch._dynamo.exc.UserError) as error:
            raise InputError(
                f"{subject.metadata.get('variant', INPUT)}: torch.export cannot trace it with a "
                f"free batch, height and width: {str(error).strip().splitlines()[0]}"
            ) from error
