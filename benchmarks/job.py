"""A job is what is measured: an implementation at a task, and one turn of its work."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import compress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.profiler import ProfilerActivity, profile

from benchmarks.clock import seconds
from benchmarks.contestants import CONTESTANTS, OWN, RECOMPUTING, Contestant
from benchmarks.memory import kept_bytes
from benchmarks.weights import canonical_names, load, random_state
from resnext_backbones.compute.tuning import tune

PRECISIONS = {
    "float64": torch.float64,
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
"""Of the convolutions. The half precisions are by autocast, with weights in float32; tf32 is how
GPUs convolve in float32 by default, with 10 bits of mantissa."""

HALF = ("bfloat16", "float16")

LAYOUTS = {
    "own": None,
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
}
"""The memory format of weights and images; `own` is what an implementation does by itself."""

COMPILED = ("compiled", "frozen", "fused+frozen")

MODES = ("eager", "fused", *COMPILED, "graphs", "captured", *RECOMPUTING)
"""As it comes; with the norms folded for inference; by `torch.compile`, for inference also with the
weights as constants (inductor's `freezing`), and both; compiled, and launched as CUDA graphs; this
package's `cuda_graphs`; with what is not kept computed again."""

ON_GPU = "graphs", "captured"

WAYS = ("tuned", "plain")
"""How this package's convolutions are computed: as `resnext tune` chooses for the images at hand,
or by PyTorch's plain call."""

USUAL = ("own", "eager", "tuned")


@dataclass(frozen=True)
class Task:
    """Says what a network is asked to do in a turn.

    Attributes:
        part: of a contestant, which builds the module for a variant; it may have none.
        training: forward and backward pass, or forward pass alone.
        reference: the precision of the outputs and gradients that all are compared with.
        compared: what of them is; None is everything.
        trunk: name of the submodule that takes the common weights; "" is the module itself.
        amplifies: by how much more rounding shows in its outputs than in those of a trunk.
        batch: images a step, if nothing else is asked for.
        size: height and width of the images, likewise.
        modes: that a user would try.
    """

    part: str
    training: bool
    reference: str = "float64"
    compared: tuple[str, ...] | None = None
    trunk: str = ""
    amplifies: float = 1
    batch: int = 1
    size: tuple[int, int] = (800, 1344)
    modes: tuple[str, ...] = ("eager", "compiled")

    def build(self, contestant: Contestant, variant: str) -> Any:
        """Returns the module."""
        return getattr(contestant, self.part)(variant)


TASKS = {
    "inference": Task(
        "trunk", training=False, modes=("eager", "fused", "compiled", "frozen", "fused+frozen")
    ),
    "detector": Task("frozen_trunk", training=True),
    # A hundred norms over few pixels: peers' outputs in float32 are 6e-5 from those in float64.
    "classification": Task("classifier", training=True, amplifies=100, batch=8, size=(224, 224)),
    # Operators of the heads know no double precision, and draw proposals at random.
    "mask_rcnn": Task(
        "mask_rcnn",
        training=True,
        reference="float32",
        compared=("output 0",),
        trunk="detector.backbone",
    ),
}
"""Four feature maps; the same and their backward pass, with stem and stage 1 and all statistics
frozen; the backward pass of a classifier whose norms are in training mode; and that of a whole
Mask R-CNN."""


@dataclass(frozen=True)
class Setting:
    """Holds what all entries of a benchmark have in common.

    Attributes:
        task: of `TASKS`.
        variant: of `list_variants()`.
        batch: images a step.
        sizes: height and width in pixels; a turn takes one step at each.
        device: as PyTorch names it.
        smooth: SiLU in the place of ReLU. Where an activation lies within rounding of zero, ReLU
            makes a whole gradient of the rounding, which hides how exact the gradients are.
    """

    task: str
    variant: str
    batch: int
    sizes: tuple[tuple[int, int], ...]
    device: str
    smooth: bool = False


@dataclass(frozen=True)
class Entry:
    """Names a contestant of `CONTESTANTS`, and how it runs."""

    contestant: str
    precision: str = "float32"
    layout: str = "own"
    mode: str = "eager"
    ways: str = "tuned"

    @property
    def label(self) -> str:
        """Returns the contestant, and the settings that are not the usual ones."""
        settings = self.ways, self.mode, self.layout
        return ", ".join([self.contestant, *(each for each in settings if each not in USUAL)])

    def is_possible(self, setting: Setting) -> bool:
        """Returns whether the contestant is installed and can do this."""
        contestant = CONTESTANTS[self.contestant]
        task = TASKS[setting.task]
        inference_only = self.mode.startswith("fused") or self.mode.endswith("frozen")
        recomputes = task.part == "frozen_trunk" and self.mode in contestant.recomputing
        return (
            contestant.is_installed()
            and (self.precision != "tf32" or torch.device(setting.device).type == "cuda")
            and contestant.builds(setting.variant)
            and getattr(contestant, task.part) is not None
            and (contestant.has_relu_modules or not setting.smooth)
            and not (task.training and inference_only)
            and (self.ways == "tuned" or self.contestant == OWN)
            and (recomputes or self.mode not in RECOMPUTING)
            and (self.mode != "captured" or self.contestant == OWN)
            and (self.mode not in ON_GPU or torch.device(setting.device).type == "cuda")
        )


def set_tf32(precision: str) -> None:
    """Rounds what convolutions and matrix products in float32 multiply, or not, in this process."""
    tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32


class Job:
    """Holds a network with weights that all contestants share, and its inputs."""

    def __init__(self, setting: Setting, entry: Entry) -> None:
        contestant = CONTESTANTS[entry.contestant]
        self.setting, self.entry, self.task = setting, entry, TASKS[setting.task]
        build = contestant.recomputing.get(entry.mode, partial(self.task.build, contestant))
        module: Any = build(setting.variant)
        if contestant.same_network:
            load(module.get_submodule(self.task.trunk), random_state(setting.variant))
        if setting.smooth:
            _smooth(module)
        _keep_all(module)
        self.dtype = torch.float64 if entry.precision == "float64" else torch.float32
        module.to(setting.device, self.dtype)
        if entry.layout in contestant.layouts:
            contestant.layouts[entry.layout](module)
        layout = LAYOUTS[entry.layout]
        if layout is not None:
            module.to(memory_format=layout)
        if entry.mode.startswith("fused"):
            module = contestant.fuse(module)
        self.module = module
        self.run: Callable[[Tensor], Any] = module
        if entry.mode == "captured":
            trunk: Any = self.trunk
            trunk.cuda_graphs = True
        if entry.mode == "graphs":
            self.run = torch.compile(module, mode="reduce-overhead")
        elif entry.mode in COMPILED:
            torch._inductor.config.freezing = entry.mode.endswith("frozen")
            self.trunk.compile(dynamic=len(setting.sizes) > 1)
        self.images = [self._images(*size) for size in setting.sizes]
        self.upstream: list[tuple[Tensor, ...]] = []

    @property
    def trunk(self) -> nn.Module:
        """Returns the network that the contestants implement: the module, or a part of it."""
        return self.module.get_submodule(self.task.trunk)

    def tune(self) -> None:
        """Chooses ways for the convolutions of this package, as `resnext tune` does."""
        dtype = PRECISIONS[self.entry.precision]
        for images in self.images:
            tune(self.trunk, images.shape, dtype=dtype)

    def _images(self, height: int, width: int) -> Tensor:
        """Draws the same for all contestants."""
        shape = self.setting.batch, 3, height, width
        values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        layout = LAYOUTS[self.entry.layout] or torch.contiguous_format
        return values.to(self.setting.device, self.dtype).contiguous(memory_format=layout)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns feature maps, or logits."""
        with self._autocast(), torch.inference_mode(not self.task.training):
            outputs = self.run(images)
        return outputs if isinstance(outputs, tuple) else (outputs,)

    def _autocast(self) -> AbstractContextManager:
        precision = self.entry.precision
        device = torch.device(self.setting.device).type
        return torch.autocast(device, PRECISIONS[precision], enabled=precision in HALF)

    def backward(self, outputs: tuple[Tensor, ...], upstream: tuple[Tensor, ...]) -> None:
        """Goes back from gradients of the outputs, as the rest of a network would send them."""
        # A frozen stage's output takes none.
        takes = [output.requires_grad for output in outputs]
        torch.autograd.backward(tuple(compress(outputs, takes)), tuple(compress(upstream, takes)))

    def warm_up(self) -> dict[str, Tensor]:
        """Takes a turn before the clock runs, and draws the gradients of the outputs.

        Returns:
            At the first size the outputs and, where it trains, the gradients by torchvision's
            names.
        """
        found: dict[str, Tensor] = {}
        for images in reversed(self.images):
            outputs = self.forward(images)
            found = {f"output {i}": output.detach() for i, output in enumerate(outputs)}
            if self.task.training:
                self.upstream.insert(0, tuple(_gradient_of(output) for output in outputs))
                self.backward(outputs, self.upstream[0])
                own = canonical_names(self.trunk)
                for name, parameter in self.trunk.named_parameters():
                    if parameter.grad is not None:
                        found[own[name]] = parameter.grad
                self.module.zero_grad(set_to_none=True)
        if self.task.compared is not None:
            found = {name: found[name] for name in self.task.compared}
        return found

    def turn(self) -> float:
        """Returns the seconds of one step at each size."""
        return seconds(self._steps, self.setting.device)

    def _steps(self) -> None:
        for i, images in enumerate(self.images):
            torch.compiler.cudagraph_mark_step_begin()
            outputs = self.forward(images)
            if self.task.training:
                self.backward(outputs, self.upstream[i])
                self.module.zero_grad(set_to_none=True)
            del outputs

    def device_seconds(self) -> float:
        """Returns the seconds in which the GPU computes, and does not wait, of a turn."""
        with profile(activities=[ProfilerActivity.CUDA]) as found:
            self._steps()
            torch.cuda.synchronize(self.setting.device)
        return sum(event.self_device_time_total for event in found.key_averages()) / 1e6

    def kept_bytes(self) -> int:
        """Counts what the forward pass keeps for the backward pass, at the first size."""
        return kept_bytes(self.module, lambda: self.forward(self.images[0]))

    @staticmethod
    def graphs() -> int:
        """Returns how often the compiler had to compile so far."""
        return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def _keep_all(module: nn.Module) -> None:
    """Drops nothing: contestants that draw at random could not be compared."""
    for part in module.modules():
        if isinstance(part, _DropoutNd):
            part.eval()


def _smooth(module: nn.Module) -> None:
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(parent, name, nn.SiLU())


def _gradient_of(output: Tensor) -> Tensor:
    """Returns what the layer behind an output might send back, in the layout of the output.

    It is positive: with signs at random the gradients of weights would be small differences of
    large sums, and rounding would be all that there is to compare.
    """
    values = torch.rand(output.shape, generator=torch.Generator().manual_seed(1))
    return torch.empty_like(output).copy_(values)
