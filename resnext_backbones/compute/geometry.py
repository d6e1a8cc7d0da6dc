"""A convolution moves over its input by these numbers."""

from __future__ import annotations

from typing import Any, NamedTuple


class Geometry(NamedTuple):
    """Holds how a convolution moves, as the arguments of `torch.nn.functional.conv2d`."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @classmethod
    def of(cls, conv: Any) -> Geometry:
        """Returns that of a `Conv2d` whose padding is given in pixels."""
        return cls(conv.stride, conv.padding, conv.dilation, conv.groups)

    def merged(self, groups: int) -> Geometry:
        """Returns it with that many groups computed as one."""
        return self._replace(groups=self.groups // groups)

    def is_pointwise(self) -> bool:
        """Returns whether a 1x1 kernel would meet each pixel once, and all channels of it."""
        still = all(step == 1 for step in self.stride) and not any(self.padding)
        return still and self.groups == 1
