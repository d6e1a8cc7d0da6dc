"""All processes of a run compute its convolutions in the same ways, also when it goes on.

The first process measures them when the network is called first, which says how large its images
are. A checkpoint holds what was chosen: another choice rounds otherwise.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed, nn

from resnext_backbones.compute import tuned, tuning
from resnext_backbones.compute.calls import PLAIN
from resnext_backbones.compute.tables import DEVICES, UNKNOWN, Table, from_rows, to_rows
from resnext_backbones.compute.ways import forget, use
from resnext_backbones.engine.failures import lost_worker
from resnext_backbones.errors import some
from resnext_backbones.models import ResNeXt

KEY = "ways_of_convolutions"
"""Under this name a checkpoint holds the choice of its run."""

SWITCH = "RESNEXT_BACKBONES_NO_TUNE"
"""Where an environment variable of this name is set, every run is as with `--no-tune`."""

Say = Callable[[str], object]


class RunWays:
    """Holds the ways in which a run computes the convolutions of its trunks.

    Args:
        model: the whole network, on its device.
        called: modules of this type are called with images, and are a trunk or hold one.
        tunes: False computes all of them plainly, unless a checkpoint says otherwise.
        info, warn: log a line.
        changed: is told what a checkpoint is to hold, whenever that changes.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        called: type[nn.Module] = ResNeXt,
        tunes: bool,
        info: Say,
        warn: Say,
        changed: Callable[[dict[str, Any]], object] = lambda _: None,
    ) -> None:
        self.model, self.info, self.warn, self.changed = model, info, warn, changed
        self.plain = _why_plain(tunes)
        self.trunks = {m: _trunk_in(m) for m in model.modules() if isinstance(m, called)}
        self.device = next((p.device.type for m in self.trunks for p in m.parameters()), "cpu")
        self.state: dict[str, Any] = {}
        self._undo: list[Callable[[], object]] = []

    def state_dict(self) -> dict[str, Any]:
        """Returns what a checkpoint holds: plain values."""
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes what a checkpoint holds, before `begin`."""
        self.state = state

    def begin(self) -> None:
        """Puts the ways of the checkpoint in force; without one, has them measured when a trunk is
        called first, or puts the plain ones in force. All processes must call.
        """
        if not self.trunks:
            return
        self.plain, self.state = _of_first((self.plain, self.state))
        if self._take_over():
            return
        self._use({}, tuned.measured_on(self.device))
        if self.device not in DEVICES:
            self.plain = self.device
        if self.plain:
            self.info(f"convolutions: plain, by {self.plain}")
            return
        for module, trunk in self.trunks.items():
            tune = partial(self._tune, trunk)
            self._undo.append(_before_first_call(module, self._is_due, tune))

    def end(self) -> None:
        """Has the user's own choices be in force again."""
        for undo in self._undo:
            undo()
        forget(self.device)

    def _take_over(self) -> bool:
        """Puts the choice of a checkpoint in force; False where it has none for this device."""
        if not self.state:
            return False
        then = self.state["device"]
        if then != self.device:
            self.warn(
                f"convolutions: the checkpoint's choice is for {then}, and this is {self.device}: "
                "what follows is that of a new run"
            )
            return False
        try:
            chosen, unknown = from_rows(self.device, self.state["rows"])
        except ValueError as error:
            self.warn(f"convolutions: the checkpoint has {error}; what follows is of a new run")
            return False
        if unknown:
            names = some(sorted(set(unknown)))
            self.warn(
                f"convolutions: the checkpoint's choice has ways that are unknown here: {names}; "
                "these passes are plain now, and may round otherwise"
            )
        self.info(f"convolutions: as the checkpoint's run had them{self._elsewhere()}")
        self._use(chosen, self.state["measured_on"])
        return True

    def _elsewhere(self) -> str:
        """Returns what is not as it was where the checkpoint's choice was measured, in words."""
        then, now = self.state["measured_on"], tuned.measured_on(self.device)
        unlike = [f"{k} {then.get(k)} -> {v}" for k, v in now.items() if then.get(k) != v]
        if not unlike or not self.state["rows"]:
            return ""
        return f", though measured elsewhere ({some(unlike)}); a new run measures them here"

    def _is_due(self) -> bool:
        return self.model.training

    @torch.compiler.disable
    def _tune(self, trunk: ResNeXt, images: Tensor) -> None:
        """Puts in force what the first process chooses for a trunk; plain ways where it cannot."""
        found: list[Any] = [None]
        is_first = not _are_several() or distributed.get_rank() == 0
        if is_first:
            try:
                found = [self._measured(trunk, images)]
            except Exception as error:  # whatever else is in the network must not end the run
                if lost_worker(error):  # which PyTorch raises wherever it is
                    raise
                found = [(f"{type(error).__name__}: {error}", [], {})]
            if self.device == "cuda":
                torch.cuda.empty_cache()
        failure, rows, measured_on = _of_first(found[0])
        if failure and is_first:
            self.warn(f"convolutions: plain, since they cannot be measured: {failure}")
        before = from_rows(self.device, self.state["rows"])[0]  # of another trunk
        self._use({**before, **from_rows(self.device, rows)[0]}, measured_on)

    def _measured(self, trunk: ResNeXt, images: Tensor) -> tuple[str, list[Any], dict[str, Any]]:
        """Returns "", the rows of the choice for a trunk, and where they were measured."""
        if unlike := sorted({type(p).__name__ for p in trunk.parameters()} - {"Parameter"}):
            return f"the network has a {unlike[0]} among its parameters", [], {}
        forget(self.device)  # what this user has chosen by now
        begun, told = time.monotonic(), list[tuning.Measured]()
        table = tuning.tune(trunk, images.shape, dtype=_computed_in(images), told=told.append)
        self.info(_said(table, told, time.monotonic() - begun, self.device))
        return "", to_rows(table), tuned.measured_on(self.device)

    def _use(self, chosen: Table, measured_on: Mapping[str, Any]) -> None:
        use(self.device, chosen)
        self.state = {
            "device": self.device,
            "measured_on": dict(measured_on),
            "rows": to_rows(chosen),
        }
        self.changed(self.state)


def _why_plain(tunes: bool) -> str:
    """Returns what asks for plain ways; "" where nothing does."""
    if not tunes:
        return "--no-tune"
    if os.environ.get(SWITCH):
        return SWITCH
    return "--deterministic" if torch.are_deterministic_algorithms_enabled() else ""


def _of_first(value: Any) -> Any:
    """Returns what the first process has; all must call."""
    box = [value]
    if _are_several():
        distributed.broadcast_object_list(box)
    return box[0]


def _said(table: Table, told: list[tuning.Measured], seconds: float, device: str) -> str:
    plain = {PLAIN, UNKNOWN}
    merged = sum(any(set(ways) - plain for ways in rows.values()) for rows in table.values())
    measured = len({each.layer for each in told})
    first = f"{measured} kinds measured in {seconds:.0f} s, " if measured else ""
    return (
        f"convolutions: {first}{merged} of {len(table)} kinds are not plain, "
        f"{tuned.where(device, table)}"
    )


def _are_several() -> bool:
    return distributed.is_initialized() and distributed.get_world_size() > 1


def _computed_in(images: Tensor) -> torch.dtype:
    """Returns the type in which convolutions of images are computed, under autocast as well."""
    device = images.device.type
    if torch.is_autocast_enabled(device) and images.dtype != torch.float64:
        return torch.get_autocast_dtype(device)
    return images.dtype


def _trunk_in(module: nn.Module) -> ResNeXt:
    return next(each for each in module.modules() if isinstance(each, ResNeXt))


def _before_first_call(
    module: nn.Module, is_due: Callable[[], bool], call: Callable[[Tensor], None]
) -> Callable[[], object]:
    """Calls with the images that a module is called with first while `is_due`, before it is;
    returns what gives that up.
    """
    compiled = module._compiled_call_impl
    if compiled is not None:  # where a hook would be compiled, and all of it again without one

        def first(images: Tensor, *args: Any, **named: Any) -> Any:
            if is_due():
                module._compiled_call_impl = None  # measuring calls it, too
                try:
                    call(images)
                finally:
                    module._compiled_call_impl = compiled
            return compiled(images, *args, **named)

        module._compiled_call_impl = first
        return partial(setattr, module, "_compiled_call_impl", compiled)

    def hook(_: nn.Module, args: tuple[Any, ...]) -> None:
        if args and is_due():
            handle.remove()
            call(args[0])

    handle = module.register_forward_pre_hook(hook)
    return handle.remove
