"""Convolutions of one name and shape may compute with their weights in different ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor, nn

PLAIN, STANDARDISED = "plain", "standardised"
USUAL_EPS = 1e-5


class StandardisedConv2d(nn.Conv2d):
    """Convolves with weights of mean 0 and deviation 1 in each output channel: Qiao et al. (2019),
    arXiv:1903.10520, section 3. The epsilon, 1e-5, is added to the deviation, as in mmcv's ConvWS.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, out_channels, H', W')."""
        axes = (1, 2, 3)
        mean, std = self.weight.mean(axes, keepdim=True), self.weight.std(axes, keepdim=True)
        return self._conv_forward(x, (self.weight - mean) / (std + USUAL_EPS), self.bias)


CONVOLUTIONS: dict[str, Callable[..., nn.Module]] = {
    PLAIN: nn.Conv2d,
    STANDARDISED: StandardisedConv2d,
}
"""The convolutions that can be asked for by name."""

KNOWN = {"Conv2d": PLAIN, "StandardisedConv2d": STANDARDISED, "ConvWS2d": STANDARDISED}
"""Classes that compute as one of the table does, here and in mmcv and Detectron2."""


def kinds_of(layers: Iterable[nn.Module]) -> str:
    """Returns how convolutions compute: a name of `CONVOLUTIONS`, or what tells theirs from them;
    of several all, with "and" between them. Those with modules inside, as deformable ones, have
    names that say it.
    """
    convs = (m for m in layers if isinstance(m, nn.Conv2d) and not any(m.children()))
    return " and ".join(sorted({_kind(conv) for conv in convs})) or PLAIN


def _kind(conv: nn.Conv2d) -> str:
    cls = type(conv)
    plain = (cls.forward, cls._conv_forward) == (nn.Conv2d.forward, nn.Conv2d._conv_forward)
    kind = PLAIN if plain else KNOWN.get(cls.__name__, cls.__name__)
    own = {"eps": getattr(conv, "eps", USUAL_EPS), "padding_mode": conv.padding_mode}
    usual = {"eps": USUAL_EPS, "padding_mode": "zeros"}
    more = ", ".join(f"{name}={value}" for name, value in own.items() if value != usual[name])
    return f"{kind} ({more})" if more else kind
