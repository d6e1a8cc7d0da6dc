"""One training step of a config's network, whose memory is counted."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from resnext_backbones.engine.config import build_errors_named
from resnext_backbones.engine.plan.storages import LiveStorages
from resnext_backbones.garbage import without_collections

OWN_SCALING = ("dtype", "loss_scale", "use_fp64")
"""Arguments of MMEngine's AmpOptimWrapper, which takes no plain one's place here."""


class Footprint(NamedTuple):
    """Says how many bytes a training step takes."""

    parameters: int
    """The weights, with buffers such as running statistics."""
    gradients: int
    optimizer: int
    """The optimiser's state, such as momentum."""
    kept: int
    """What the forward pass keeps for the backward pass, with the images."""
    peak: int
    """The most that was alive at once, all of the above among it, and all below."""
    moving: int = 0
    """The most that was alive at once beside parameters, gradients and the optimiser's state, and
    the gradients that were there by then: `gradients_then`."""
    gradients_then: int = 0
    averaged: int = 0
    """The averages of the weights that an EMAHook keeps."""

    @property
    def fixed(self) -> int:
        """What does not depend on the images."""
        return self.parameters + self.gradients + self.optimizer

    def accumulated(self) -> Footprint:
        """Returns what a part of a batch takes, when the gradients of an earlier part are there."""
        return self._replace(peak=self.fixed + self.moving + self.averaged)

    @property
    def in_several_processes(self) -> int:
        """The peak of each of several processes: DDP's buckets are a copy of the gradients."""
        return self.peak + self.gradients


class Ready(NamedTuple):
    """Holds what a step is made with."""

    model: nn.Module
    wrapper: OptimWrapper


def build(cfg: Config) -> Ready:
    """Returns a config's network in training mode with its optimiser; no weights are loaded.

    Raises:
        InputError: an argument is wrong.
    """
    init_default_scope(cfg.get("default_scope", "mmengine"))
    # Some networks ask how far the run is.
    MessageHub.get_current_instance().update_info_dict({"iter": 0, "epoch": 0})
    settings = {k: v for k, v in cfg.optim_wrapper.items() if k not in OWN_SCALING}
    with build_errors_named(cfg), warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        model = revert_sync_batchnorm(MODELS.build(cfg.model)).train()
        wrapper = build_optim_wrapper(model, {**settings, "type": "OptimWrapper"})
    assert isinstance(wrapper, OptimWrapper)
    for group in wrapper.optimizer.param_groups:
        # State is the same; not every kernel of several tensors knows fake ones.
        group.update({key: False for key in ("fused", "foreach") if key in group})
    return Ready(model, wrapper)


def take_step(
    ready: Ready,
    data: Callable[[], Any],
    *,
    amp: torch.dtype | None,
    around: Callable[[], Any] = nullcontext,
) -> Footprint:
    """Takes a step as any but the first, when the optimiser has its state, and counts its memory.

    Args:
        data: returns a batch as the network's `data_preprocessor` takes it.
        amp: the type of autocast; None computes in float32.
        around: returns a context for the step, which measures it in another way.
    """
    model, wrapper = ready
    live = LiveStorages()
    wrapper.zero_grad()
    gc.collect()
    # PyTorch takes it ill where a storage that somebody follows is collected.
    with without_collections(), live:
        parameters = live.hold([*model.parameters(), *model.buffers()])
        optimizer = _with_state(ready, live)
        gradients = sum(p.nbytes for p in model.parameters() if p.requires_grad)
        wrapper.zero_grad()
        before = live.now
        live.begin_peak()
        with around(), _gradients_settled(model, live):
            kept = _forward_and_backward(ready, data, amp, live) - before
            wrapper.step()
        moving = live.moving - before
        then = live.settled_then
        return Footprint(parameters, gradients, optimizer, kept, live.peak, moving, then)


@contextmanager
def _gradients_settled(model: nn.Module, live: LiveStorages) -> Iterator[None]:
    """Tells of each gradient when it is complete."""

    def settle(parameter: Tensor) -> None:
        assert parameter.grad is not None
        live.settled += parameter.grad.nbytes

    hooks = [
        parameter.register_post_accumulate_grad_hook(settle)
        for parameter in model.parameters()
        if parameter.requires_grad
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _forward_and_backward(
    ready: Ready, data: Callable[[], Any], amp: torch.dtype | None, live: LiveStorages
) -> int:
    """Returns how many bytes were alive between the two passes."""
    model: Any = ready.model
    with torch.autocast("cpu", amp or torch.bfloat16, enabled=amp is not None):
        batch = model.data_preprocessor(data(), True)
        losses = model._run_forward(batch, mode="loss")
        loss, _ = model.parse_losses(losses)
    between = live.now
    loss.backward()
    return between


def _with_state(ready: Ready, live: LiveStorages) -> int:
    """Has the optimiser make its state, if it has none; returns its bytes. Gradients stay."""
    optimizer = ready.wrapper.optimizer
    for parameter in ready.model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    if not optimizer.state:
        rates = [group["lr"] for group in optimizer.param_groups]
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        optimizer.step()
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
    held = [v for state in optimizer.state.values() for v in state.values()]
    tensors = [value for value in held if isinstance(value, Tensor)]
    live.hold(tensors)
    return sum({t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}.values())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps MMEngine from logging the settings of each parameter."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)


def fake_tensors() -> FakeTensorMode:
    """Returns a mode in which tensors have no memory, and no kernel is tried with zeros instead."""
    return FakeTensorMode(allow_non_fake_inputs=True, allow_fallback_kernels=False)
