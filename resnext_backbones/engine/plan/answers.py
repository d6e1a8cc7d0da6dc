"""Answers what a program asks of tensors without values, so that it goes on as with the most work.

Losses ask how many anchors are positive, whether any is, which boxes are left. A fake tensor knows
only its shape. Here all are, as far as nothing says less: masks that are made from zeros have as
many entries as were put there, so that what a sampler draws has the sampler's limit.

Whether something is so has two answers. The first is yes; where the program raises an error after
it, as after "is a box degenerate", it is run again with the other one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
import torchvision  # noqa: F401  # whose operators are in the tables
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

aten = torch.ops.aten
Result = TypeVar("Result")
Place = tuple[str, int]
"""File and line of who asks."""

TRIES = 24
KINDS = 8
"""A tensor is taken to have so many different values, unless they are indices."""

UNKNOWN = DataDependentOutputException, DynamicOutputShapeException
NOT_FAKE = *UNKNOWN, UnsupportedFakeTensorException, UnsupportedOperatorException
"""No other answer would help here."""

SAME = (
    aten._to_copy, aten.clone, aten.detach, aten.alias, aten.view, aten._unsafe_view, aten.squeeze,
    aten.unsqueeze, aten.slice, aten.t, aten.expand, aten.index, aten.select, aten.reshape,
    aten.view_as, aten.contiguous,
)  # fmt: skip
"""These have at most as many entries that are not zero as their first argument, of counts, where
they repeat none."""

COMPARISONS = {aten.gt: (0, 1), aten.ge: (1,), aten.ne: (0,)}
"""These are so of no zero, where it is compared with one of these numbers."""

ZEROS = aten.zeros, aten.zeros_like, aten.new_zeros
UNIONS = aten.bitwise_or, aten.logical_or, aten.__or__
SECTIONS = aten.bitwise_and, aten.logical_and, aten.__and__, aten.mul
PUTS = aten.index_put_, aten._index_put_impl_, aten.index_put
NMS = torch.ops.torchvision.nms
DRAWN = aten._sample_dirichlet, aten.binomial
"""These draw values in their first argument's shape; PyTorch 2.14 has no fake kernel of them."""


def answered(run: Callable[[], Result]) -> Result:
    """Returns `run()`, which computes with fake tensors, repeated until no answer has it fail.

    Raises what the first run raised, where none does.
    """
    chosen: dict[Place, int] = {}
    first: Exception | None = None
    for _ in range(TRIES):
        answers = Answers(chosen)
        try:
            with _readable(), answers:
                return run()
        except NOT_FAKE:
            raise
        except Exception as error:  # whatever a loss checks
            first = first or error
            if not answers.choose_another():
                raise first from None
    assert first is not None
    raise first


class Answers(TorchDispatchMode):
    """Stands above a `FakeTensorMode`, and answers where it cannot.

    Args:
        chosen: which answer is given where; it is added to.
    """

    def __init__(self, chosen: dict[Place, int]) -> None:
        super().__init__()
        self._chosen = chosen
        self._asked: dict[Place, int] = {}
        """Places in the order in which they asked last, and how many answers each has."""
        self._counts = WeakTensorKeyDictionary()
        """Holds of tensors how many of their entries are not zero, at most."""
        self._distinct = WeakTensorKeyDictionary()
        """Tensors whose entries all differ."""

    def choose_another(self) -> bool:
        """Chooses the next answer at the place that asked last, and forgets those behind it; False
        where all were given.
        """
        for place, number in reversed(self._asked.items()):
            if self._chosen[place] + 1 < number:
                self._chosen[place] += 1
                return True
            del self._chosen[place]
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Calls an operator, or answers in its place."""
        del types
        packet, kwargs = func.overloadpacket, kwargs or {}
        if packet in (aten.index, *PUTS):
            args = args[0], self._indices(args[1]), *args[2:]
        args = _made_fake(args)
        kwargs = {key: _made_fake(value) for key, value in kwargs.items()}
        if packet is NMS:
            return self._index(len(args[0]), args[0])
        if packet in DRAWN:
            return torch.empty_like(args[0])
        try:
            out = func(*args, **kwargs)
        except UNKNOWN:
            answer = self._answers().get(packet)
            if answer is None:
                raise
            return answer(*args, **kwargs)
        if isinstance(out, Tensor):
            self._count(packet, out, args)
        return out

    def _answers(self) -> dict[Any, Callable[..., Any]]:
        return {
            aten._local_scalar_dense: self._item,
            aten.equal: lambda *_: self._ask((True, False)),
            aten.nonzero: self._nonzero,
            aten.masked_select: lambda x, mask: x.new_empty(self._at_most(mask)),
            aten._unique2: self._unique,
            aten.unique_consecutive: self._unique,
            aten.unique_dim: lambda x, _, *rest: self._unique(x, *rest),
            aten.repeat_interleave: lambda repeats, **_: self._index(repeats.numel(), repeats),
            aten.bincount: lambda x, _=None, least=0: self._index(max(least, KINDS), x),
        }

    def _item(self, tensor: Tensor) -> Any:
        if tensor.dtype == torch.bool:
            return self._ask((True, False))
        return self._ask((1.0, 0.0) if tensor.dtype.is_floating_point else (1, 0))

    def _ask(self, options: Sequence[Any]) -> Any:
        place = _who_asks()
        self._asked.pop(place, None)
        self._asked[place] = len(options)
        return options[self._chosen.setdefault(place, 0)]

    def _nonzero(self, x: Tensor) -> Tensor:
        out = x.new_empty(self._at_most(x), x.dim(), dtype=torch.long)
        self._distinct[out] = True
        return out

    def _unique(self, x: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor, Tensor]:
        number = x.numel() if x in self._distinct else min(x.numel(), KINDS)
        return x.new_empty(number), self._index(x.shape, x), self._index(number, x)

    @staticmethod
    def _index(shape: Any, like: Tensor) -> Tensor:
        return like.new_empty(shape, dtype=torch.long)

    def _at_most(self, x: Tensor) -> int:
        return min(self._counts.get(x, x.numel()), x.numel())

    def _indices(self, indices: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Returns indices with numbers in place of masks."""
        found: list[Tensor | None] = []
        for index in indices:
            if isinstance(index, FakeTensor) and index.dtype in (torch.bool, torch.uint8):
                number = self._at_most(index)
                found += [self._index(number, index) for _ in range(index.dim())]
            else:
                found.append(index)
        return found

    def _count(self, packet: Any, out: Tensor, args: Any) -> None:
        """Notes how many entries of what an operator returned are not zero, where it is known."""
        first: Any = args[0] if args else None
        if packet in ZEROS:
            self._counts[out] = 0
        elif packet in PUTS:
            if first in self._counts:
                put = max((i.numel() for i in args[1] if i is not None), default=0)
                self._counts[out] = self._at_most(first) + put
        elif packet in UNIONS:
            self._counts[out] = sum(self._at_most(x) for x in args if isinstance(x, Tensor))
        elif packet in SECTIONS:
            known = [self._counts[x] for x in args if isinstance(x, Tensor) and x in self._counts]
            if known:
                self._counts[out] = min(known)
        elif packet is aten.cat:
            if any(x in self._counts for x in first):
                self._counts[out] = sum(self._at_most(x) for x in first)
        elif packet in COMPARISONS and first in self._counts:
            if not isinstance(args[1], Tensor) and args[1] in COMPARISONS[packet]:
                self._counts[out] = self._counts[first]
        elif packet in SAME and isinstance(first, Tensor):
            self._same(out, first)

    def _same(self, out: Tensor, first: Tensor) -> None:
        if first in self._counts:
            repeats = -(-out.numel() // max(first.numel(), 1))
            self._counts[out] = self._counts[first] * max(repeats, 1)
        if first in self._distinct:
            self._distinct[out] = True

    def limit(self, tensor: Tensor, number: int) -> None:
        """Notes that at most so many entries of a tensor are not zero."""
        self._counts[tensor] = number


def _made_fake(value: Any) -> Any:
    """Returns a fake tensor for a real one, as C++ makes of a number that is put into a tensor; an
    operator's lists with their items so, in half the time that PyTorch's `tree_map` takes.
    """
    if isinstance(value, list | tuple):
        return type(value)(map(_made_fake, value))
    if not isinstance(value, Tensor) or isinstance(value, FakeTensor):
        return value
    kind, device = value.dtype, value.device
    return torch.empty_strided(value.shape, value.stride(), dtype=kind, device=device)


def limit(tensor: Tensor, number: int) -> None:
    """Tells the answers in force, if there are some, how many entries are not zero at most."""
    for mode in torch.utils._python_dispatch._get_current_dispatch_mode_stack():
        if isinstance(mode, Answers):
            mode.limit(tensor, number)


def _who_asks() -> Place:
    """Returns the nearest caller that is neither PyTorch nor this file."""
    frame = sys._getframe(1)
    inside = __file__, *torch.__path__
    while frame.f_back is not None and frame.f_code.co_filename.startswith(inside):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


@contextmanager
def _readable() -> Iterator[None]:
    """Has fake tensors be read as arrays and lists, of ones: masks are drawn on the CPU."""

    def to_numpy(self: Tensor, *_: Any, **__: Any) -> Any:
        kind = torch.empty(0, dtype=self.dtype, device="meta").dtype
        name = str(kind).removeprefix("torch.").replace("bfloat16", "float32")
        return np.ones(tuple(self.shape), dtype=name)

    own: dict[str, Callable[..., Any]] = {
        "numpy": to_numpy,
        "__array__": lambda self, dtype=None, **_: to_numpy(self).astype(dtype or None),
        "tolist": lambda self: to_numpy(self).tolist(),
    }
    before: dict[str, Any] = {name: FakeTensor.__dict__.get(name) for name in own}
    for name, method in own.items():
        setattr(FakeTensor, name, method)
    try:
        yield
    finally:
        for name, method in before.items():
            if method is None:
                delattr(FakeTensor, name)
            else:
                setattr(FakeTensor, name, method)
