"""A network's steps as CUDA graphs: two launches in the place of many hundreds.

A fast GPU computes a small batch in less time than Python takes to launch it. Of images whose shape
comes again the launches of the forward and of the backward pass are captured once, and repeated
from then on: the same kernels on the same values. All shapes share one pool of memory, in which a
step's activations lie where those of the step before did. So a step while somebody still has those,
or of a network that does more than its kernels (hooks, statistics, dropout), is computed without.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call

from resnext_backbones.compute.capturable import State, is_ordinary, state_of, surroundings
from resnext_backbones.garbage import without_collections

MOST = 16
"""So many shapes have graphs at a time."""

RECENT = 100
"""A shape is captured when it comes again within so many steps; then it keeps its graphs for as
long. Capturing takes some ten steps' time."""


class Graphs:
    """Captures and repeats what one network computes. Copies of the network begin anew."""

    def __init__(self) -> None:
        self._captured: dict[Hashable, Captured | None] = {}  # None of what cannot be captured
        self._seen: dict[Hashable, int] = {}
        self._steps = 0
        self._pool: Any = None
        self._lent: list[weakref.ref[Memory]] = []
        self._pass: Any = lambda: None
        self._warned: set[str] = set()
        self._is_capturing = False

    def __reduce__(self) -> Any:
        return Graphs, ()

    def run(self, network: Any, images: Tensor) -> tuple[Tensor, ...] | None:
        """Returns `network.feature_maps(images)`, or None where graphs do not compute it.

        Args:
            network: a trunk.
            images: (N, in_channels, H, W), on a GPU.
        """
        if self._is_capturing or not is_ordinary(images) or self._is_in_use():
            return None
        state = state_of(network)
        if state.unfit:
            self._warn(state.unfit)
            return None
        captured = self._captured_for(network, images, state)
        if captured is None:
            return None
        self._pass = lambda: None
        if captured.backward is None:
            maps, self._lent = captured.replay(images)
            return tuple(maps)
        step = Step(captured)
        maps = _Replay.apply(step, images, *(state.parameters[i] for i in captured.trained))
        self._lent, self._pass = step.lent, weakref.ref(step)
        step.lent = []
        return maps

    def _is_in_use(self) -> bool:
        """Returns whether somebody has maps of the last step, or may want their gradients."""
        step = self._pass()
        waits = step is not None and not step.is_done
        return waits or any(memory() is not None for memory in self._lent)

    def _captured_for(self, network: Any, images: Tensor, state: State) -> Captured | None:
        key = surroundings(images), state.settings
        self._steps += 1
        before = self._seen.pop(key, None)
        self._seen[key] = self._steps  # in order of their last steps
        oldest = self._steps - RECENT
        while next(iter(self._seen.values())) < oldest and len(self._seen) > MOST:
            del self._seen[next(iter(self._seen))]
        if key in self._captured:
            return self._captured[key]
        if before is None or before < oldest:
            return None
        if len(self._captured) == MOST:
            last = min(self._captured, key=lambda known: self._seen.get(known, 0))
            if self._seen.get(last, 0) >= oldest:
                return None
            del self._captured[last]
        self._captured[key] = None
        try:
            self._captured[key] = self._capture(network, images, state)
        except RuntimeError as error:
            self._warn(f"cannot be captured: {str(error).splitlines()[0]}")
        return self._captured[key]

    def _capture(self, network: Any, images: Tensor, state: State) -> Captured:
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        self._is_capturing = True
        stream = torch.cuda.current_stream(images.device)
        try:
            with torch.cuda.device_of(images), _undisturbed():
                return Captured(network, images, state.parameters, self._pool)
        finally:
            self._is_capturing = False
            torch.cuda.set_stream(stream)  # which a capture that fails leaves

    def _warn(self, reason: str) -> None:
        if reason not in self._warned:
            self._warned.add(reason)
            warnings.warn(f"cuda_graphs: computed without, since it {reason}", stacklevel=4)


class Captured:
    """Holds the graphs of one shape of images.

    Attributes:
        wanted: of the maps, whether they take a gradient.
        trained: numbers of the parameters whose gradients are computed.
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

    def replay(self, images: Tensor) -> tuple[list[Tensor], list[weakref.ref[Memory]]]:
        """Returns the maps, and what is alive as long as anybody has one."""
        self.images.copy_(images)
        self.forward.replay()
        memories = [Memory(place, self) for place in self.maps]
        maps = [memory.tensor() for memory in memories]
        return maps, [weakref.ref(memory) for memory in memories]


class Step:
    """Ties a backward pass to its forward pass."""

    def __init__(self, captured: Captured) -> None:
        self.captured, self.is_done = captured, False
        self.lent: list[weakref.ref[Memory]] = []


class _Replay(torch.autograd.Function):
    """The two passes. Maps and parameters are saved so that who changes them is told."""

    @staticmethod
    def forward(ctx: Any, step: Step, images: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        maps, step.lent = step.captured.replay(images)
        wanted = zip(maps, step.captured.wanted, strict=True)
        ctx.mark_non_differentiable(*(found for found, want in wanted if not want))
        ctx.save_for_backward(*maps, *parameters)
        ctx.step = step
        return tuple(maps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        step: Step = ctx.step
        if step.is_done:
            raise RuntimeError(
                "cuda_graphs: a backward pass ran before for this forward pass, and its "
                "activations are gone; set cuda_graphs=False to go through a graph twice"
            )
        assert step.captured.backward is not None
        assert ctx.saved_tensors  # which looks whether one was changed
        given = [g for g, want in zip(gradients, step.captured.wanted, strict=True) if want]
        torch._foreach_copy_(step.captured.upstream, given)
        step.captured.backward.replay()
        found = [torch.empty_like(gradient) for gradient in step.captured.gradients]
        torch._foreach_copy_(found, step.captured.gradients)
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
def _undisturbed() -> Iterator[None]:
    """Keeps the collector from a capture, and autocast from keeping what is made in it."""
    caches = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        with without_collections():
            yield
    finally:
        torch.set_autocast_cache_enabled(caches)
