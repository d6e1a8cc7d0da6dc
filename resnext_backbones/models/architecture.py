"""An architecture says what weights presuppose of a network, as plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar

from resnext_backbones.models.options import (
    check_one_of,
    check_positive,
    check_range,
    is_eps,
    is_positive,
    one_or_several,
    per_stage,
    positive_integers,
    require,
    stage_blocks,
)
from resnext_backbones.models.parts.activations import ACTIVATIONS
from resnext_backbones.models.parts.attention import ATTENTION
from resnext_backbones.models.parts.convolutions import PLAIN
from resnext_backbones.models.parts.norms import NORM_KINDS, USUAL_EPS, USUAL_GROUPS
from resnext_backbones.models.parts.poolings import POOLINGS
from resnext_backbones.models.parts.shortcuts import SHORTCUTS
from resnext_backbones.models.parts.spatial import SPATIAL, Build
from resnext_backbones.models.parts.stems import STEMS, tensors_of

EXPANSION = 4
"""Channels of a block's output over those of a ResNet bottleneck's 3x3 convolution."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Describes a network of the family, Xie et al. (CVPR 2017), Table 1.

    Stage 1 has a bottleneck width of C x d and 4 x base_channels outputs; each further stage has
    twice as many of both, or, with `stage_channels`, widths in proportion to these. With
    cardinality 1 it is ResNet (base width 64) or Wide ResNet (base width 128); with channels and
    groups of each stage it is RegNet. A stem, a shortcut, a pooling, an activation and an attention
    ("" is none) are names of their tables in `models.parts`.

    Attributes:
        blocks: of each stage, one to four of them.
        cardinality: C, the groups of the 3x3 convolutions.
        base_width: d, channels a group in stage 1.
        stage_groups: the groups of each stage, C in the first; None is C in all of them.
        stage_channels: outputs of each stage, in place of `base_channels`.
        stem_channels: out of the stem; None is `base_channels`.
        stride_in_1x1: stride in the first 1x1 convolution of a block, as the original ResNet does;
            False, in the 3x3 one, is what all public ResNeXt weights expect.
        norm_kind: `batch` or `group`; which of the kind is an option of the network.
        norm_groups: of group norms; several numbers where layers differ, as `eps` has them.
        eps: of the norms.
        convolution: of `parts.convolutions.CONVOLUTIONS`, or in words what a network is given.
        attention_after: the convolution of a block behind whose norm it stands, 2 or 3.
        spatial: what stands in the place of 3x3 convolutions, of `parts.spatial.SPATIAL`; "" is
            nothing else.
        stage: `plain`, a row of blocks; or `csp`, in which half of the channels pass them by, and
            which strides in front of them (`cross_stage.CrossStage`).

    Raises:
        ValueError: a value is out of its range; the message names it.
    """

    blocks: Sequence[int] = (3, 4, 6, 3)
    cardinality: int = 32
    base_width: int = 4
    stage_groups: Sequence[int] | None = None
    in_channels: int = 3
    base_channels: int = 64
    stage_channels: Sequence[int] | None = None
    stem: str = "7x7"
    stem_channels: int | None = None
    shortcut: str = "strided"
    stride_in_1x1: bool = False
    pooling: str = "max"
    norm_kind: str = "batch"
    norm_groups: int | Sequence[int] = USUAL_GROUPS
    eps: float | Sequence[float] = USUAL_EPS
    convolution: str = PLAIN
    activation: str = "ReLU"
    attention: str = ""
    attention_after: int = 3
    spatial: str = ""
    stage: str = "plain"

    unsaid: ClassVar[frozenset[str]] = frozenset()
    """Fields of which nothing is known, where it is read from a file of before."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", stage_blocks(self.blocks))
        check_positive(**{name: getattr(self, name) for name in COUNTS})
        check_positive(stem_channels=self.stem_out_channels)
        self._settle_stages()
        self._settle_layers()
        for name, allowed in CHOICES.items():
            check_one_of(name, getattr(self, name), allowed)
        check_range("stem_channels", self.stem_out_channels, STEMS[self.stem].fewest, 1 << 16)
        if not STEMS[self.stem].pools and POOLINGS[self.pooling].in_blocks is None:
            object.__setattr__(self, "pooling", Architecture.pooling)  # there is none
        if self.attention != "":
            check_one_of("attention", self.attention, ATTENTION)
        else:  # one value for one network
            object.__setattr__(self, "attention_after", Architecture.attention_after)
        if not any(self.spatial_at(i, j) for i, n in enumerate(self.blocks) for j in range(n)):
            object.__setattr__(self, "spatial", "")
        if self.stage == "csp" and (self.shortcut, self.stride_in_1x1) != ("strided", False):
            raise ValueError(
                "shortcut and stride_in_1x1 must be left out with stage='csp', whose blocks do not "
                f"project or stride, got {self.shortcut!r} and {self.stride_in_1x1!r}"
            )
        if self.stem_channels == self.base_channels:
            object.__setattr__(self, "stem_channels", None)

    def _settle_stages(self) -> None:
        """Checks what each stage has of its own, and leaves out what the others say already."""
        n = len(self.blocks)
        settled: dict[str, Any] = {}
        if self.stage_channels is not None:
            given = per_stage("stage_channels", self.stage_channels, n, ())
            channels = positive_integers("stage_channels", given)
            alone = self.base_channels == type(self).base_channels
            require(alone, "base_channels", "left out beside stage_channels", self.base_channels)
            settled["stage_channels"] = channels
            base, rest = divmod(channels[0], EXPANSION)
            if not rest and channels == tuple(channels[0] * 2**stage for stage in range(n)):
                settled = {"stage_channels": None, "base_channels": base}
                settled["stem_channels"] = self.stem_out_channels
        if self.stage_groups is not None:
            given = per_stage("stage_groups", self.stage_groups, n, ())
            groups = positive_integers("stage_groups", given)
            first = groups[0] == self.cardinality
            require(first, "stage_groups", f"{self.cardinality}, the cardinality, at first", groups)
            settled["stage_groups"] = None if set(groups) == {self.cardinality} else groups
        for name, value in settled.items():
            object.__setattr__(self, name, value)
        for stage in range(n):
            width = self.cardinality * self.base_width * self.out_channels(stage)
            fits = width % (self.out_channels(0) * self.groups(stage)) == 0
            what = f"such that stage {stage + 1} has whole groups of channels"
            stages = self.stage_channels, self.stage_groups
            require(fits, "stage_channels and stage_groups", what, stages)

    def _settle_layers(self) -> None:
        """Checks what norms and convolutions compute with, in one way of writing."""
        groups = self.norm_groups if self.norm_kind == "group" else USUAL_GROUPS
        whole = "a positive integer, or several"
        settled = {
            "norm_groups": one_or_several("norm_groups", groups, is_positive, whole),
            "eps": one_or_several("eps", self.eps, is_eps, "a number from 0, or several"),
        }
        require(isinstance(self.convolution, str), "convolution", "a name", self.convolution)
        for name, value in settled.items():
            object.__setattr__(self, name, value)

    def of_stages(self, number: int) -> Architecture:
        """Returns the network of the first stages alone; ValueError: it has not so many."""
        cut: dict[str, Any] = {"blocks": stage_blocks(self.blocks, number)}
        for name in ("stage_groups", "stage_channels"):
            if (values := getattr(self, name)) is not None:
                cut[name] = values[:number]
        return replace(self, **cut)

    @classmethod
    def of(cls, value: Architecture | Mapping[str, Any]) -> Architecture:
        """Returns an architecture, from one or from what `to_dict` gave."""
        return value if isinstance(value, Architecture) else cls(**value)

    @classmethod
    def recorded(cls, values: Mapping[str, Any]) -> Architecture:
        """Returns what was once recorded: of `LAYERS` files of before say nothing, and nothing of
        these is known then.
        """
        found = cls(**values)
        object.__setattr__(found, "unsaid", frozenset(LAYERS) - values.keys())
        return found

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Architecture | None:
        """Returns what the metadata of a file says; None where it says nothing.

        Raises:
            ValueError: it says what is no architecture.
        """
        if (text := metadata.get(METADATA)) is None:
            return None
        try:
            return cls.recorded(json.loads(text))
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"the architecture in the metadata: {error}") from error

    def to_metadata(self) -> dict[str, str]:
        """Returns all values as the metadata of a file holds them."""
        return {METADATA: json.dumps(self.to_dict())}

    def to_dict(self) -> dict[str, Any]:
        """Returns all values, as JSON holds them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @property
    def depth(self) -> int:
        """Counts the layers with weights, as the names of networks do."""
        return 3 * sum(self.blocks) + 2

    @property
    def stem_out_channels(self) -> int:
        """Counts the channels out of the stem."""
        return self.base_channels if self.stem_channels is None else self.stem_channels

    def groups(self, stage: int) -> int:
        """Returns the groups of a 3x3 convolution; stages count from 0."""
        return self.cardinality if self.stage_groups is None else self.stage_groups[stage]

    def width(self, stage: int) -> int:
        """Returns the channels of a 3x3 convolution."""
        first = self.cardinality * self.base_width
        return first * self.out_channels(stage) // self.out_channels(0)

    def out_channels(self, stage: int) -> int:
        """Returns the channels of a stage's output."""
        if self.stage_channels is not None:
            return self.stage_channels[stage]
        return EXPANSION * self.base_channels * 2**stage

    def block_channels(self, stage: int) -> int:
        """Returns the channels of a block's output."""
        return self.out_channels(stage) // (2 if self.stage == "csp" else 1)

    def spatial_at(self, stage: int, block: int) -> Build | None:
        """Returns what builds the part of a block in its 3x3 convolution's place, if there is one;
        both count from 0.
        """
        return SPATIAL[self.spatial](stage, block) if self.spatial else None


COUNTS = ("cardinality", "base_width", "in_channels", "base_channels")
CHOICES: dict[str, Any] = {
    "stem": STEMS,
    "shortcut": SHORTCUTS,
    "pooling": POOLINGS,
    "norm_kind": NORM_KINDS,
    "activation": ACTIVATIONS,
    "attention_after": (2, 3),
    "spatial": ("", *SPATIAL),
    "stage": ("plain", "csp"),
    "stride_in_1x1": (False, True),
}
FIELDS = frozenset(field.name for field in fields(Architecture))
METADATA = "architecture"
"""The key of a file's metadata under which it says what it presupposes."""

LAYERS = ("eps", "norm_groups", "convolution")
"""Fields that are those of the layers that a network was given, where it was given some."""

UNSEEN = ("stride_in_1x1", "pooling", "activation", *LAYERS)
"""Fields that no name and no shape of a tensor shows."""


def unseen_fields(network: Architecture) -> list[str]:
    """Returns the fields of a network that no tensor shows: `UNSEEN`, as far as it has such layers,
    and its stem, where another has the same tensors.
    """
    fields = [n for n in UNSEEN if n != "norm_groups" or network.norm_kind == "group"]
    others = (stem for stem in STEMS if stem != network.stem)
    alike = any(tensors_of(stem) == tensors_of(network.stem) for stem in others)
    return [*fields, "stem"] if alike else fields


def unseen_differences(first: Architecture, second: Architecture) -> list[str]:
    """Returns the fields in which two networks differ without a tensor that shows it."""
    names = [name for name in UNSEEN if getattr(first, name) != getattr(second, name)]
    names = [name for name in names if name not in first.unsaid | second.unsaid]
    if first.norm_kind != second.norm_kind:  # which names show
        names = [name for name in names if name != "norm_groups"]
    stems = first.stem, second.stem
    alike = stems[0] != stems[1] and tensors_of(stems[0]) == tensors_of(stems[1])
    return [*names, "stem"] if alike else names
