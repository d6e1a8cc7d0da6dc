"""Counts the bytes of the storages that are alive, whether they have memory or are fake."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class LiveStorages(TorchDispatchMode):
    """Follows every storage that operators make while this is in force, until it is gone.

    What a kernel takes and gives back within one operator is unseen.

    Attributes:
        now: bytes of the storages that are alive.
        peak: the most that `now` was since `begin_peak`.
        settled: bytes of what is alive and stays, which whoever knows it adds to: gradients.
        moving: the most that `now` without `settled` was since then, and `settled_then`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = self.moving = self.settled = self.settled_then = 0
        self._sizes: dict[int, int] = {}
        self._ends: dict[int, weakref.finalize] = {}

    def hold(self, tensors: Iterable[Tensor]) -> int:
        """Counts tensors that were made before; returns their bytes."""
        before = self.now
        for tensor in tensors:
            self._follow(tensor)
        return self.now - before

    def begin_peak(self) -> None:
        """Has the peaks begin anew, with what is alive now."""
        self.peak = self.moving = self.now
        self.settled = self.settled_then = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Calls an operator, and counts what it returns."""
        del types
        out = func(*args, **(kwargs or {}))
        self._follow_all(out)
        return out

    def _follow_all(self, out: Any) -> None:
        if isinstance(out, Tensor):
            self._follow(out)
        elif isinstance(out, list | tuple):
            for each in out:
                self._follow_all(each)

    def _follow(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        known = self._sizes.get(key)
        if known is None:
            self._ends[key] = weakref.finalize(storage, self._forget, key)
            self._ends[key].atexit = False
        self._sizes[key] = size
        self.now += size - (known or 0)
        self.peak = max(self.peak, self.now)
        if self.now - self.settled > self.moving:
            self.moving, self.settled_then = self.now - self.settled, self.settled

    def _forget(self, key: int) -> None:
        self.now -= self._sizes.pop(key)
        del self._ends[key]

    def __exit__(self, *error: Any) -> None:
        """Follows nothing from now on."""
        super().__exit__(*error)
        for end in self._ends.values():
            end.detach()
        self._ends.clear()
