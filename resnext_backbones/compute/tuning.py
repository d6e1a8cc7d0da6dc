"""The ways of a network's convolutions are measured where they run, and the fastest are chosen."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils._pytree import tree_leaves

from resnext_backbones.compute import tuned
from resnext_backbones.compute.calls import PLAIN, Layer
from resnext_backbones.compute.convolution import forward, gradients
from resnext_backbones.compute.tables import NOT_MEASURED, PASSES, UNKNOWN, Table, Ways, merge
from resnext_backbones.compute.ways import recorded, table, use

FASTER = 0.97
"""A way is taken that needs at most so much of the plain one's time, and less than it in all turns
but one."""

HOPELESS = 1.5
"""A way that takes so many times as long as the fastest in its first turn has no other."""

TURNS = 5
FEWEST = 2
"""Each way is timed so often; where there is no time for that, at least so often, or not chosen."""

SECONDS = 60.0
SIMILAR = 2.0
"""What was measured holds for inputs of up to so many times as many pixels, or fewer."""

Work = dict[tuple[Layer, torch.Size], set[str]]


class Measured(NamedTuple):
    """Says what was measured of a layer."""

    layer: Layer
    pixels: int
    """Its input has so many, N x H x W."""
    ways: Ways
    shares: dict[str, float]
    """Each pass that is computed takes this share of the plain way's time."""


Told = Callable[[Measured], object]


def tune(
    trunk: nn.Module,
    shape: Sequence[int],
    *,
    dtype: torch.dtype,
    seconds: float = SECONDS,
    again: bool = False,
    told: Told | None = None,
) -> Table:
    """Measures what was not measured before of a network's convolutions, keeps it, and puts it in
    force. Nothing else of the network or of the random numbers changes.

    Args:
        trunk: on its device; what is trained of it decides which passes there are.
        shape: (N, C, H, W) of its images.
        dtype: in which its convolutions are computed, as autocast would have it.
        seconds: it takes at most about so many.
        again: measure what was measured before, too.
        told: is told of each layer that was measured, when it was.

    Returns:
        What is in force of the layers of this network.
    """
    device = next(trunk.parameters()).device
    work = layers_of(trunk, shape, dtype)
    wanted = {at: passes for at, passes in work.items() if again or not is_known(*at, passes)}
    chosen = measure(wanted, device, seconds=seconds, told=told)
    if chosen:
        tuned.keep(device.type, chosen)
        use(device.type, merge(table(device.type), chosen))
    in_force = table(device.type)
    return {layer: in_force[layer] for layer, _ in work if layer in in_force}


def layers_of(trunk: nn.Module, shape: Sequence[int], dtype: torch.dtype) -> Work:
    """Returns the convolutions that have several ways, with the shapes of their inputs and the
    passes that a step computes of them. The network runs on tensors without values.
    """
    step = _Step(trunk)
    training = {module: module.training for module in trunk.modules()}
    device = next(trunk.parameters()).device

    def without_values(tensor: Tensor) -> Tensor:
        to = dtype if tensor.is_floating_point() else tensor.dtype
        sides = tensor.shape, tensor.stride()
        fake = torch.empty_strided(*sides, dtype=to, device=tensor.device)
        return fake.requires_grad_(tensor.requires_grad)

    with (
        FakeTensorMode(),
        recorded() as found,
        torch.autocast(device.type, enabled=False),
        torch.enable_grad(),
    ):
        named = (*step.named_parameters(), *step.named_buffers())
        state = {name: without_values(tensor) for name, tensor in named}
        images = torch.empty(tuple(shape), dtype=dtype, device=device)
        try:
            for module in training:  # synchronised norms would wait for other processes
                module.training = False
            functional_call(step, state, (images, any(training.values())))
        finally:
            for module, was_training in training.items():
                module.training = was_training
    return {
        (layer, sides): passes
        for (layer, sides), passes in found.items()
        if len(layer.ways()) > 1 and 0 not in sides
    }


class _Step(nn.Module):
    """Computes both passes in one call: blocks are computed again in the backward pass, too."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, images: Tensor, backward: bool) -> None:
        trained = [y for y in tree_leaves(self.trunk(images)) if y.requires_grad]
        if trained and backward:
            torch.autograd.backward(trained, [torch.empty_like(y) for y in trained])


def is_known(layer: Layer, shape: torch.Size, passes: Collection[str]) -> bool:
    """Tells whether the table in force has these passes of a layer, for about as many pixels."""
    pixels = _pixels(shape)
    known = table(layer.device).get(layer, {})
    return any(
        max(pixels, each) <= SIMILAR * min(pixels, each)
        and all(getattr(ways, name) != UNKNOWN for name in passes)
        for each, ways in known.items()
    )


def measure(
    work: Work, device: torch.device, *, seconds: float = SECONDS, told: Told | None = None
) -> Table:
    """Returns the fastest ways of convolutions.

    Args:
        work: as of `layers_of`.
        seconds: it takes at most about so many; what there is no time for is not in the table.
        told: as of `tune`.
    """
    end, chosen = time.monotonic() + seconds, Table()
    with (
        torch.no_grad(),
        torch.autocast(device.type, enabled=False),
        torch.random.fork_rng([device] if device.type == "cuda" else []),
    ):
        for count, ((layer, shape), passes) in enumerate(work.items()):
            left = end - time.monotonic()
            if left <= 0:
                break
            share = left / (len(work) - count)
            found = _fastest(layer, shape, passes, device, share)
            chosen.setdefault(layer, {})[found.pixels] = found.ways
            if told is not None:
                told(found)
    return chosen


def _fastest(
    layer: Layer, shape: torch.Size, passes: Collection[str], device: torch.device, seconds: float
) -> Measured:
    """Returns the fastest ways of a layer."""
    ways, shares = NOT_MEASURED, {}
    last = torch.channels_last if layer.last else torch.contiguous_format
    randn = partial(torch.randn, dtype=layer.dtype, device=device)
    x = randn(shape).contiguous(memory_format=last)
    weight = randn(layer.weight).contiguous(memory_format=torch.channels_last)
    bias = randn(len(weight))
    geometry = layer.geometry
    grad = torch.randn_like(forward(x, weight, bias, geometry, PLAIN))
    calls: dict[str, Callable[[str], object]] = {
        "forward": lambda way: forward(x, weight, bias, geometry, way),
        "grad_input": lambda way: gradients(grad, x, weight, geometry, way, (True, False, False)),
        "grad_weight": lambda way: gradients(grad, x, weight, geometry, way, (False, True, True)),
    }
    for name in PASSES:
        if name in passes:
            each = seconds / len(passes)
            found, shares[name] = _best(calls[name], layer.ways(), device, each)
            ways = ways._replace(**{name: found})
    return Measured(layer, _pixels(shape), ways, shares)


def _best(
    call: Callable[[str], object], ways: Sequence[str], device: torch.device, seconds: float
) -> tuple[str, float]:
    """Returns the fastest of some ways, which are timed in turns, and its time as a share of the
    first one's, which is plain; UNKNOWN where there was no time for it.
    """
    end = time.monotonic() + seconds
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for way in ways:
        call(way)  # what is prepared at a first call is prepared
        if time.monotonic() > end:
            return UNKNOWN, 1.0
    for turn in range(TURNS):
        if time.monotonic() > end:
            if turn < FEWEST:
                return UNKNOWN, 1.0
            break
        for way in taken:
            taken[way].append(_seconds(partial(call, way), device))
        least = min(times[0] for times in taken.values())
        taken = {w: t for w, t in taken.items() if w == PLAIN or t[0] <= HOPELESS * least}
        if len(taken) == 1:
            return PLAIN, 1.0
    ratios = {
        way: sorted(a / b for a, b in zip(times, taken[PLAIN], strict=True))
        for way, times in taken.items()
    }
    best = min(ratios, key=lambda way: statistics.median(ratios[way]))
    share = statistics.median(ratios[best])
    # What others do on the machine makes one way or the other slow at times.
    steadily = ratios[best][-2] < 1
    return (best, share) if share <= FASTER and steadily else (PLAIN, 1.0)


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    repeats = 1
    if device.type == "cuda":
        repeats = 10
        torch.cuda.synchronize(device)
    begun = time.perf_counter()
    for _ in range(repeats):
        call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - begun) / repeats


def _pixels(shape: torch.Size) -> int:
    n, _, *sides = shape
    return n * sides[0] * sides[1]
