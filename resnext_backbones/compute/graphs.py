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
from collections.abc import Hashable
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from resnext_backbones.compute.capturable import State, is_ordinary, state_of, surroundings
from resnext_backbones.compute.captured import Captured, Memory, Replay, Step, undisturbed

MOST = 16
"""At most so many shapes have graphs at a time."""

RECENT = 100
"""A shape is captured when it comes again within so many steps; then it keeps its graphs for as
long."""

WORTH = 20
"""Capturing takes some ten steps' time. Where graphs have been repeated less than so many times as
often as there were captures, there are no more of these than `MOST`."""


class Graphs:
    """Captures and repeats what one network computes. Copies of the network begin anew."""

    def __init__(self) -> None:
        self._captured: dict[Hashable, Captured] = {}
        self._seen: dict[Hashable, int] = {}
        self._steps = self._captures = self._repeated = 0
        self._pool: Any = None
        self._stream: Any = None
        self._failed = False
        self._lock = Lock()
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
        if self._is_capturing or self._failed or not is_ordinary(images):
            return None
        with self._lock:
            return self._run(network, images)

    def _run(self, network: Any, images: Tensor) -> tuple[Tensor, ...] | None:
        if self._is_in_use():
            self._warn(
                "has maps of the step before that somebody holds, or that wait for gradients"
            )
            return None
        # Memory of the pool is free for the next step of the same stream alone.
        stream = torch.cuda.current_stream(images.device)
        self._stream = self._stream or stream
        state = state_of(network)
        if reason := state.unfit or ("" if stream == self._stream else "is on another stream"):
            self._warn(reason)
            return None
        captured = self._captured_for(network, images, state)
        if captured is None:
            return None
        self._repeated += 1
        self._pass = lambda: None
        if captured.backward is None:
            maps, self._lent = captured.replay(images)
            return tuple(maps)
        step = Step(captured)
        maps = Replay.apply(step, images, *(state.parameters[i] for i in captured.trained))
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
        if self._captures >= MOST and self._repeated < WORTH * self._captures:
            return None
        if len(self._captured) == MOST:
            last = min(self._captured, key=lambda known: self._seen.get(known, 0))
            if self._seen.get(last, 0) >= oldest:
                return None
            del self._captured[last]
        self._captures += 1
        try:
            self._captured[key] = self._capture(network, images, state)
        except RuntimeError as error:  # behind which PyTorch's pool may be in no state to go on
            self._failed = True
            self._warn(f"cannot be captured: {str(error).splitlines()[0]}")
        return self._captured.get(key)

    def _capture(self, network: Any, images: Tensor, state: State) -> Captured:
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        self._is_capturing = True
        stream = torch.cuda.current_stream(images.device)
        try:
            with torch.cuda.device_of(images), undisturbed():
                return Captured(network, images, state.parameters, self._pool)
        finally:
            self._is_capturing = False
            torch.cuda.set_stream(stream)  # which a capture that fails leaves

    def _warn(self, reason: str) -> None:
        if reason not in self._warned:
            self._warned.add(reason)
            warnings.warn(f"cuda_graphs: computed without, since it {reason}", stacklevel=4)
