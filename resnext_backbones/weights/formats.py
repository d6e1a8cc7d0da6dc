"""How each family of checkpoints names its tensors: one table, read in both directions.

The names that all others are translated to are this package's own, which are torchvision's. A row
pairs such a name with the family's; what stands in braces is looked up in `FIELDS`. Names that no
row speaks of are the same on both sides in the families that follow torchvision, and have no
counterpart in the others. The first row that fits is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

STAGE = {"1": "1", "2": "2", "3": "3", "4": "4"}
NORM = {
    name: name for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
}

FIELDS: dict[str, tuple[str, dict[str, str]]] = {
    "kind": ("kind", {"bn": "bn", "gn": "gn"}),
    "stage": ("stage", STAGE),
    "res": ("stage", {"1": "2", "2": "3", "3": "4", "4": "5"}),
    "i": ("i", {"1": "1", "2": "2", "3": "3"}),
    "branch": ("i", {"1": "a", "2": "b", "3": "c"}),
    "norm": ("norm", NORM),
    # Caffe2's names of a norm's scale, shift, running mean and running variance, and those in the
    # files that Detectron2 publishes.
    "blob": ("norm", {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"}),
    "greek": (
        "norm",
        {"weight": "gamma", "bias": "beta"} | {n: n for n in ("running_mean", "running_var")},
    ),
    "parameter": ("parameter", {"weight": "weight", "bias": "bias"}),
    "sb": ("parameter", {"weight": "s", "bias": "b"}),
    "wb": ("parameter", {"weight": "w", "bias": "b"}),
    # Torch7's modules have numbers. A stage and a block are modules in a sequence; the second and
    # the fourth of the three convolutions' neighbours are ReLUs.
    "sequence": ("stage", {"1": "4", "2": "5", "3": "6", "4": "7"}),
    "conv": ("i", {"1": "0", "2": "3", "3": "6"}),
    "bn": ("i", {"1": "1", "2": "4", "3": "7"}),
}
"""What may stand in braces: whose value it is, and how that value is written."""

ANY: dict[str, str] = {"block": r"\d+", "rest": r".+"}
"""Fields that are written alike in all families, and what they may be."""


class Template:
    """A name with fields in braces, which reads and writes names of that form."""

    def __init__(self, text: str) -> None:
        self.parts = re.split(r"\{(\w+)\}", text)
        literals, fields = self.parts[::2], self.parts[1::2]
        groups = [
            f"(?P<{name}>{ANY.get(name) or '|'.join(FIELDS[name][1].values())})" for name in fields
        ]
        escaped = [re.escape(literal) for literal in literals]
        pattern = escaped[0] + "".join(g + e for g, e in zip(groups, escaped[1:], strict=True))
        self._pattern = re.compile(pattern)
        self._fields = fields

    def parse(self, name: str) -> dict[str, str] | None:
        """The values of the fields in a name, in canonical writing; None if it has another form."""
        found = self._pattern.fullmatch(name)
        if found is None:
            return None
        values = {}
        for field, text in found.groupdict().items():
            whose, written = FIELDS.get(field, (field, {}))
            values[whose] = next((v for v, form in written.items() if form == text), text)
        return values

    def render(self, values: Mapping[str, str]) -> str | None:
        """The name with these values; None where one of them cannot be written in this family."""
        parts = list(self.parts)
        for i, field in enumerate(self._fields):
            whose, written = FIELDS.get(field, (field, {}))
            text = values[whose] if field in ANY else written.get(values[whose])
            if text is None:
                return None
            parts[2 * i + 1] = text
        return "".join(parts)


@dataclass(frozen=True)
class Format:
    """A family's names.

    Attributes:
        family: as messages call it.
        stems: names that the first convolution of a trunk may have; one of the first block's where
            that name says nothing.
        rows: this package's name, and the family's.
        follows: whether names in no row are this package's.
        trunk: what a trunk's names begin with, in a family that does not follow this package.
        junk: names that training programs of the family write beside the weights.
        fuses_norms: whether norms may come without statistics, which are in their affine part.
    """

    family: str
    stems: tuple[str, ...]
    rows: tuple[tuple[str, str], ...] = ()
    follows: bool = False
    trunk: tuple[str, ...] = ()
    junk: str = ""
    fuses_norms: bool = False

    @cached_property
    def _templates(self) -> list[tuple[Template, Template]]:
        return [(Template(own), Template(theirs)) for own, theirs in self.rows]

    def to_own(self, name: str, kind: str = "bn") -> str | None:
        """This package's name; None where it has none.

        Args:
            kind: of the norms, where the family's name does not say it: `bn` or `gn`.
        """
        for own, theirs in self._templates:
            if (values := theirs.parse(name)) is not None:
                return own.render({"kind": kind, **values})
        return name if self.follows else None

    def from_own(self, name: str) -> str | None:
        """The family's name; None where it has none."""
        for own, theirs in self._templates:
            if (values := own.parse(name)) is not None:
                return theirs.render(values)
        return name if self.follows else None


DEEP_STEM_CONVS = (("0", "0"), ("3", "1"), ("6", "2"))
DEEP_STEM_NORMS = (("1", "0"), ("4", "1"), ("7", "2"))


def _caffe2_norms(blob: str) -> tuple[tuple[str, str], ...]:
    return (
        ("bn1.{norm}", f"res_conv1_bn_{{{blob}}}"),
        (
            "layer{stage}.{block}.bn{i}.{norm}",
            f"res{{res}}_{{block}}_branch2{{branch}}_bn_{{{blob}}}",
        ),
        (
            "layer{stage}.{block}.downsample.1.{norm}",
            f"res{{res}}_{{block}}_branch1_bn_{{{blob}}}",
        ),
    )


FORMATS: dict[str, Format] = {
    # Also the weights of WSL, SWSL and SSL, those of MMDetection with a plain stem, and timm's.
    "torchvision": Format("torchvision", ("conv1.weight",), follows=True),
    # The last norm of timm's deep stem is that of the plain one.
    "timm": Format(
        "timm (deep stem)",
        ("conv1.0.weight",),
        (
            *((f"stem.{i}.weight", f"conv1.{i}.weight") for i in ("0", "3", "6")),
            *((f"stem.{i}.{{norm}}", f"conv1.{i}.{{norm}}") for i in ("1", "4")),
            ("stem.7.{norm}", "bn1.{norm}"),
        ),
        follows=True,
    ),
    "mmdet": Format("MMDetection (deep stem)", ("stem.0.weight",), follows=True),
    "mmpretrain": Format(
        "MMPretrain",
        ("backbone.conv1.weight", "backbone.stem.0.conv.weight"),
        (
            *((f"stem.{a}.weight", f"backbone.stem.{b}.conv.weight") for a, b in DEEP_STEM_CONVS),
            *((f"stem.{a}.{{norm}}", f"backbone.stem.{b}.bn.{{norm}}") for a, b in DEEP_STEM_NORMS),
            ("fc.{parameter}", "head.fc.{parameter}"),
            ("{rest}", "backbone.{rest}"),
        ),
        trunk=("backbone.", "head.fc."),
    ),
    "detectron2": Format(
        "Detectron2",
        ("stem.conv1.weight",),
        (
            ("conv1.weight", "stem.conv1.weight"),
            ("{kind}1.{norm}", "stem.conv1.norm.{norm}"),
            ("layer{stage}.{block}.conv{i}.weight", "res{res}.{block}.conv{i}.weight"),
            ("layer{stage}.{block}.{kind}{i}.{norm}", "res{res}.{block}.conv{i}.norm.{norm}"),
            (
                "layer{stage}.{block}.conv2.conv_offset.{parameter}",
                "res{res}.{block}.conv2_offset.{parameter}",
            ),
            ("layer{stage}.{block}.downsample.0.weight", "res{res}.{block}.shortcut.weight"),
            ("layer{stage}.{block}.downsample.1.{norm}", "res{res}.{block}.shortcut.norm.{norm}"),
            ("fc.{parameter}", "linear.{parameter}"),
        ),
        trunk=("stem.", "res2.", "res3.", "res4.", "res5.", "linear."),
    ),
    "caffe2": Format(
        "Caffe2",
        ("conv1_w",),
        (
            ("conv1.weight", "conv1_w"),
            ("gn1.{parameter}", "conv1_gn_{sb}"),
            ("layer{stage}.{block}.conv{i}.weight", "res{res}_{block}_branch2{branch}_w"),
            ("layer{stage}.{block}.gn{i}.{parameter}", "res{res}_{block}_branch2{branch}_gn_{sb}"),
            ("layer{stage}.{block}.downsample.0.weight", "res{res}_{block}_branch1_w"),
            *(row for blob in ("blob", "greek") for row in _caffe2_norms(blob)),
            ("layer{stage}.{block}.downsample.1.{parameter}", "res{res}_{block}_branch1_gn_{sb}"),
            ("fc.{parameter}", "pred_{wb}"),
            ("fc.{parameter}", "fc1000_{wb}"),
        ),
        trunk=("conv1_", "res_conv1_", "res2_", "res3_", "res4_", "res5_", "pred_", "fc1000_"),
        junk=r".*_momentum",
        fuses_norms=True,
    ),
    # By the place of a module in the authors' network. In a block, 0.0 is the residual branch and
    # 0.1 the shortcut.
    "torch7": Format(
        "Torch7",
        ("4.0.0.0.0.weight",),
        (
            ("conv1.weight", "0.weight"),
            ("bn1.{norm}", "1.{norm}"),
            ("layer{stage}.{block}.conv{i}.weight", "{sequence}.{block}.0.0.{conv}.weight"),
            ("layer{stage}.{block}.bn{i}.{norm}", "{sequence}.{block}.0.0.{bn}.{norm}"),
            ("layer{stage}.{block}.downsample.0.weight", "{sequence}.{block}.0.1.0.weight"),
            ("layer{stage}.{block}.downsample.1.{norm}", "{sequence}.{block}.0.1.1.{norm}"),
            ("fc.{parameter}", "10.{parameter}"),
        ),
        trunk=("0.", "1.", "4.", "5.", "6.", "7.", "10."),
    ),
}
"""The families that are recognised, by the name that the tools take."""

WRAPPING = re.compile(
    r"(?:(?:module|model|detector|backbone|bottom_up|body|encoder|trunk|network|ema|teacher)\.)*"
)
"""What DDP, averaged copies and detectors put in front of a trunk's names."""


def recognise(names: Iterable[str]) -> tuple[str, str]:
    """The family that names belong to, and what stands in front of a trunk's names in it.

    Args:
        names: of all tensors of a file.

    Returns:
        A key of `FORMATS`, and a prefix such as `backbone.bottom_up.`; two empty strings where
        there is no trunk among them.
    """
    names = list(names)
    present = set(names)
    for key, format_ in reversed(FORMATS.items()):  # the peculiar ones before the plain one
        for stem in format_.stems:
            for name in names:
                prefix = name.removesuffix(stem)
                if prefix == name or not WRAPPING.fullmatch(prefix):
                    continue
                if key == "mmpretrain" and not _has_its_head(prefix, present):
                    continue
                return key, prefix
    return "", ""


def _has_its_head(prefix: str, names: set[str]) -> bool:
    """What tells MMPretrain from the other frameworks whose trunk is called `backbone`."""
    deep, head = f"{prefix}backbone.stem.0.conv.weight", f"{prefix}head.fc.weight"
    return deep in names or head in names
