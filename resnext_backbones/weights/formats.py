"""One table, read in both directions, has the names of tensors in each family of checkpoints.

The names that all others are translated to are this package's own, which are torchvision's. A row
pairs such a name with the family's; what stands in braces is looked up in `FIELDS`. Names that no
row speaks of are the same on both sides in the families that follow torchvision, and have no
counterpart in the others. The first row that fits is taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain

FIELDS: dict[str, tuple[str, str]] = {
    "kind": ("kind", "bn gn"),
    "stage": ("stage", "1 2 3 4"),
    "res": ("stage", "2 3 4 5"),
    "i": ("i", "1 2 3"),
    "index": ("i", "0 1 2"),
    "branch": ("i", "a b c"),
    "norm": ("norm", "weight bias running_mean running_var num_batches_tracked"),
    # Caffe2's names, and those in the files that Detectron2 publishes.
    "blob": ("norm", "s/gamma b/beta rm/running_mean riv/running_var"),
    "parameter": ("parameter", "weight bias"),
    "sb": ("parameter", "s b"),
    "wb": ("parameter", "w b"),
    # Modules of a sequence have numbers. In Torch7's a stage and a block are such modules; behind
    # each of three convolutions, in a block or a deep stem, come its norm and a ReLU.
    "sequence": ("stage", "4 5 6 7"),
    "conv": ("i", "0 3 6"),
    "bn": ("i", "1 4 7"),
}
"""In braces stands a field's name: here are the field whose value it has, and how these values are
written, in the same order. Of several forms the first one is written, and all are read."""

ANY: dict[str, str] = {"block": r"\d+", "rest": r".+"}
"""These fields are written alike in all families."""


class Template:
    """Reads and writes names of one form, in which fields stand in braces."""

    def __init__(self, text: str) -> None:
        self._text = text
        # Where the text is escaped, so are its braces.
        self._pattern = re.compile(re.sub(r"\\{(\w+)\\}", _group, re.escape(text)))

    def parse(self, name: str) -> dict[str, str] | None:
        """Returns the fields' values, in canonical writing; None if the name has another form."""
        found = self._pattern.fullmatch(name)
        if found is None:
            return None
        values = {}
        for name, text in found.groupdict().items():
            owner, forms = _field(name)
            values[owner] = next((value for value in forms if text in forms[value]), text)
        return values

    def render(self, values: Mapping[str, str]) -> str | None:
        """Returns the name with these values; None where the family cannot write one of them."""

        def written(found: re.Match[str]) -> str:
            owner, forms = _field(found[1])
            return forms[values[owner]][0] if forms else values[owner]

        try:
            return re.sub(r"\{(\w+)\}", written, self._text) or None
        except KeyError:
            return None


@cache
def _field(name: str) -> tuple[str, dict[str, list[str]]]:
    """Returns whose value stands in a field, and how each is written; nothing for one of `ANY`."""
    if name in ANY:
        return name, {}
    owner, forms = FIELDS[name]
    values = FIELDS[owner][1].split()
    return owner, dict(zip(values, (form.split("/") for form in forms.split()), strict=False))


def _group(found: re.Match[str]) -> str:
    """Returns the group of a pattern that reads a field."""
    _, forms = _field(found[1])
    return f"(?P<{found[1]}>{'|'.join(chain(*forms.values())) or ANY[found[1]]})"


@dataclass(frozen=True)
class Format:
    """Translates a family's names.

    Attributes:
        family: as messages call it.
        stems: names that the first convolution of a trunk may have; one of the first block's where
            that name says nothing.
        marks: names of which one must be there too, where others have the same stem.
        heads: names of heads beside a trunk, in a family that follows this package.
        rows: this package's name, and the family's.
        follows: whether names in no row are this package's.
        trunk: what a trunk's names begin with, in a family that does not follow this package.
        junk: names that training programs of the family write beside the weights.
        fuses_norms: whether norms may come without statistics, which are in their affine part.
    """

    family: str
    stems: tuple[str, ...]
    rows: tuple[tuple[str, str], ...] = ()
    marks: tuple[str, ...] = ()
    follows: bool = False
    heads: str = ""
    trunk: tuple[str, ...] = ()
    junk: str = ""
    fuses_norms: bool = False

    @cached_property
    def _templates(self) -> list[tuple[Template, Template]]:
        return [(Template(own), Template(theirs)) for own, theirs in self.rows]

    def to_own(self, name: str, kind: str = "bn") -> str | None:
        """Returns this package's name; None where it has none. The norms are of a kind, `bn` or
        `gn`, where the family's name does not say it.
        """
        for own, theirs in self._templates:
            if (values := theirs.parse(name)) is not None:
                return own.render({"kind": kind, **values})
        return name if self.follows else None

    def from_own(self, name: str) -> str | None:
        """Returns the family's name; None where it has none."""
        for own, theirs in self._templates:
            if (values := own.parse(name)) is not None:
                return theirs.render(values)
        return name if self.follows else None


HEADS = (
    r"(?:heads?|mlp|mlp_head|classifier|last_linear|logits|linear|aux|aux_classifier|projection_head"
    r"|projector|projection|proj_head|predictor|prediction_head|prototypes|contrastive_head"
    r"|online_classifier|rot_head|criterion|loss)\..*|(?:head_|queue|center).*"
)
"""What self-supervised and other training puts beside a trunk, behind the same prefix."""

FORMATS: dict[str, Format] = {
    # Also the weights of WSL, SWSL and SSL, those of MMDetection with a plain stem, and timm's.
    # It has no deep stem.
    "torchvision": Format(
        "torchvision", ("conv1.weight",), (("stem.{rest}", ""),), follows=True, heads=HEADS
    ),
    # The last norm of timm's deep stem is that of the plain one.
    "timm": Format(
        "timm (deep stem)",
        ("conv1.0.weight",),
        (
            ("stem.7.{norm}", "bn1.{norm}"),
            ("stem.{conv}.weight", "conv1.{conv}.weight"),
            ("stem.{bn}.{norm}", "conv1.{bn}.{norm}"),
        ),
        follows=True,
        heads=HEADS,
    ),
    "mmdet": Format("MMDetection (deep stem)", ("stem.0.weight",), follows=True, heads=HEADS),
    # `nn.Sequential(*model.children())` of torchvision's, as self-supervised training has it.
    "sequential": Format(
        "torchvision's children in sequence",
        ("4.0.conv1.weight",),
        (
            ("conv1.weight", "0.weight"),
            ("bn1.{norm}", "1.{norm}"),
            ("layer{stage}.{rest}", "{sequence}.{rest}"),
            ("fc.{parameter}", "9.{parameter}"),
        ),
        trunk=("0.", "1.", "4.", "5.", "6.", "7."),
    ),
    "mmpretrain": Format(
        "MMPretrain",
        ("backbone.conv1.weight", "backbone.stem.0.conv.weight"),
        (
            ("stem.{conv}.weight", "backbone.stem.{index}.conv.weight"),
            ("stem.{bn}.{norm}", "backbone.stem.{index}.bn.{norm}"),
            ("fc.{parameter}", "head.fc.{parameter}"),
            ("{rest}", "backbone.{rest}"),
        ),
        # What tells it from the others whose trunk is called `backbone`.
        marks=("backbone.stem.0.conv.weight", "head.fc.weight"),
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
            # Its own converter takes torchvision's head for a part of the stem.
            ("fc.{parameter}", "stem.fc.{parameter}"),
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
            ("bn1.{norm}", "res_conv1_bn_{blob}"),
            ("layer{stage}.{block}.bn{i}.{norm}", "res{res}_{block}_branch2{branch}_bn_{blob}"),
            ("layer{stage}.{block}.downsample.1.{norm}", "res{res}_{block}_branch1_bn_{blob}"),
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
"""These families are recognised."""

TARGETS = {
    "torchvision": "torchvision",
    "timm": "timm",
    "mmdet": "mmdet",
    "mmpretrain": "mmpretrain",
    "detectron2": "detectron2",
    "safetensors": "mmdet",
}
"""Weights are written for these targets, with a family's names. A safetensors file has this
package's own, which are MMDetection's for all networks."""
