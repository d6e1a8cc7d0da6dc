"""Graphs of one shape of images have places in a pool of memory, and are replayed there."""

from __future__ import annotations

import weakref
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call
from torch.utils import deterministic

from resnext_backbones.garbage import without_collections


class Captured:
    """Holds the graphs of one shape of images.

    Attributes:
        wanted: of the maps, whether they take a gradient.
        trained: numbers of the parameters whose gradients are computed.
        addresses: of these parameters.
    """

    def __init__(
        self, network: Any, images: Tensor, parameters: Sequence[Tensor], pool: Any
    ) -> None:
        # Other leaves than the parameters, whose nodes belong to streams that are not captured.
        leaves = {
            f"network.{name}": parameter.detach().requires_grad_(parameter.requires_grad)
            for name, parameter in network.named_parameters()
        }
        options: dict[str, Any] = {"pool": pool, "capture_error_mode": "thread_local"}
        self.forward = torch.cuda.CUDAGraph()
        self.backward: torch.cuda.CUDAGraph | None = None
        with torch.cuda.graph(self.forward, **options):
            given = torch.empty_like(images)
            maps = functional_call(_Maps(network), leaves, (given,))
        self.images, self.maps = Place(given).tensor(), [Place(found) for found in maps]
        del given
        self.wanted = [found.requires_grad for found in maps]
        if not any(self.wanted):
            return
        if not any(parameter.requires_grad for parameter in parameters):
            raise RuntimeError("nothing of it is trained, and its maps want gradients")
        self.backward = torch.cuda.CUDAGraph()
        trained = {name: leaf for name, leaf in leaves.items() if leaf.requires_grad}
        outputs = [found for found in maps if found.requires_grad]
        with torch.cuda.graph(self.backward, **options):
            upstream = [torch.empty_like(output) for output in outputs]
            gradients = torch.autograd.grad(
                outputs, list(trained.values()), upstream, allow_unused=True
            )
            found = {
                name: gradient if _is_dense(gradient) else gradient.contiguous()
                for name, gradient in zip(trained, gradients, strict=True)
                if gradient is not None
            }
        self.upstream = [Place(gradient).tensor() for gradient in upstream]
        self.gradients = [Place(gradient).tensor() for gradient in found.values()]
        numbers = {id(parameter): i for i, parameter in enumerate(parameters)}
        named = {f"network.{name}": each for name, each in network.named_parameters()}
        self.trained = [numbers[id(named[name])] for name in found]
        self.addresses = [named[name].data_ptr() for name in found]
        stages = [_stage_of(name.removeprefix("network.")) for name in found]
        self._first_map = [bisect_left(network.out_indices, stage) for stage in stages]

    def replay(self, images: Tensor) -> tuple[list[Tensor], list[weakref.ref[Memory]]]:
        """Returns the maps, and what is alive as long as anybody has one."""
        self.images.copy_(images)
        self.forward.replay()
        memories = [Memory(place, self) for place in self.maps]
        maps = [memory.tensor() for memory in memories]
        return maps, [weakref.ref(memory) for memory in memories]

    def gradients_of(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Returns those of the parameters from those of the maps; None of what no map that has one
        was computed from.
        """
        assert self.backward is not None
        wanted = [g for g, want in zip(gradients, self.wanted, strict=True) if want]
        for place, gradient in zip(self.upstream, wanted, strict=True):
            place.zero_() if gradient is None else place.copy_(gradient)
        self.backward.replay()
        found = [torch.empty_like(gradient) for gradient in self.gradients]
        torch._foreach_copy_(found, self.gradients)
        last = max(i for i, gradient in enumerate(gradients) if gradient is not None)
        return [g if at <= last else None for g, at in zip(found, self._first_map, strict=True)]


def _stage_of(name: str) -> int:
    """Returns the stage that a parameter is of, from 0; of the stem, 0 as well."""
    return int(name[5]) - 1 if name.startswith("layer") else 0


class Step:
    """Ties a backward pass to its forward pass."""

    def __init__(self, captured: Captured) -> None:
        self.captured, self.is_done = captured, False
        self.lent: list[weakref.ref[Memory]] = []


class Replay(torch.autograd.Function):
    """The two passes. Maps and parameters are saved so that who changes them is told."""

    @staticmethod
    def forward(ctx: Any, step: Step, images: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        maps, step.lent = step.captured.replay(images)
        wanted = zip(maps, step.captured.wanted, strict=True)
        ctx.mark_non_differentiable(*(found for found, want in wanted if not want))
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*maps, *parameters)
        ctx.step = step
        return tuple(maps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        step: Step = ctx.step
        if step.is_done:
            raise RuntimeError(
                "cuda_graphs: a backward pass ran before for this forward pass, and its "
                "activations are gone; set cuda_graphs=False to go through a graph twice"
            )
        parameters = ctx.saved_tensors[len(gradients) :]  # which looks whether one was changed
        if [each.data_ptr() for each in parameters] != step.captured.addresses:
            raise RuntimeError(
                "cuda_graphs: parameters lie elsewhere than in the forward pass; set "
                "cuda_graphs=False where they are moved in between"
            )
        found = step.captured.gradients_of(gradients)
        step.is_done = True
        return None, None, *found


class Place:
    """Says where a tensor lies in the pool, and keeps nobody else from lying there."""

    def __init__(self, tensor: Tensor) -> None:
        self.address, self.bytes = tensor.data_ptr(), tensor.numel() * tensor.element_size()
        self.order = tensor.size(), tensor.stride()
        self.dtype, self.device = tensor.dtype, tensor.device

    def tensor(self) -> Tensor:
        """Returns a tensor there, for who has the graphs."""
        return Memory(self).tensor()


class Memory:
    """Is held by the tensors at a place, views of them included; it keeps the owner of the pool."""

    def __init__(self, place: Place, owner: object = None) -> None:
        self.place, self.owner = place, owner
        self.__cuda_array_interface__ = {
            "shape": (place.bytes,),
            "typestr": "|u1",
            "data": (place.address, False),
            "version": 3,
        }

    def tensor(self) -> Tensor:
        """Returns a tensor at the place."""
        place = self.place
        values = torch.as_tensor(self, device=place.device).view(place.dtype)
        return values.as_strided(*place.order)


class _Maps(nn.Module):
    """Computes a trunk's maps and nothing that others put around them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.network.feature_maps(images)


def _is_dense(tensor: Tensor) -> bool:
    """Returns whether it fills its place in memory: only of such a one is the order kept."""
    return torch.empty_like(tensor, device="meta").stride() == tensor.stride()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keeps the collector from a capture, autocast from keeping what is made in it, and PyTorch
    from filling what is empty, as it does where algorithms are deterministic: each replay would.
    """
    caches, settings = torch.is_autocast_cache_enabled(), cast(Any, deterministic)
    fills = settings.fill_uninitialized_memory
    torch.set_autocast_cache_enabled(False)
    settings.fill_uninitialized_memory = False
    try:
        with without_collections():
            yield
    finally:
        torch.set_autocast_cache_enabled(caches)
        settings.fill_uninitialized_memory = fills
