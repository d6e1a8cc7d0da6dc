"""Holds a whole Faster or Mask R-CNN of a file: its trunk, and heads by this package's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from resnext_backbones.models.architecture import Architecture
from resnext_backbones.weights.checkpoint import Checkpoint, plain_value
from resnext_backbones.weights.compare import compare
from resnext_backbones.weights.configs import config_section
from resnext_backbones.weights.detector_arithmetic import (
    COCO_IDS,
    COCO_ROWS,
    background_first,
    background_last,
    class_places,
)
from resnext_backbones.weights.detector_defaults import RATIOS, other_anchors, other_settings
from resnext_backbones.weights.detector_names import BY_COCO_ID, LAYOUTS, PARTS, Layout
from resnext_backbones.weights.errors import WeightsError
from resnext_backbones.weights.find import WRAPPERS, entries_of
from resnext_backbones.weights.identify import identify

BINS = 7
"""Boxes are pooled to so many bins a side."""


@dataclass(frozen=True)
class Detector:
    """Holds a detector, in the convention of MMDetection and Detectron2: the background is last.

    Attributes:
        layout: a key of `LAYOUTS`, whose names the file has.
        trunk: its backbone.
        heads: all else, by the names of `PARTS`.
        classes: how many, without the background.
        prefix: what stands in front of the layout's names in the file.
        notes: what the file says of settings, by the layout's names.
        dropped: how many classes torchvision's file has beside COCO's 80.
    """

    layout: str
    trunk: Checkpoint
    heads: dict[str, Tensor]
    classes: int
    prefix: str
    notes: dict[str, Tensor]
    dropped: int = 0

    @classmethod
    def of(
        cls,
        content: Mapping[Any, Any],
        *,
        prefix: str = "",
        class_ids: str = BY_COCO_ID,
        source: object = "",
    ) -> Detector:
        """Returns the detector in what a file holds.

        Args:
            content, prefix, source: as of `Checkpoint.of`.
            class_ids: of `CLASS_IDS`.

        Raises WeightsError where there is none, it is another, or something is missing or left.
        """
        trunk = Checkpoint.of(content, prefix=prefix, source=source)
        key, front, beside = _beside(content, trunk, source)
        layout = LAYOUTS[key]
        values = {name: plain_value(value, dense=False) for name, value in beside.items()}
        notes = {name: v for name, v in values.items() if re.fullmatch(layout.notes, name)}
        theirs = {name: v for name, v in values.items() if name not in notes}
        read = _checked(theirs, trunk, layout, source)
        for other in (*other_anchors(notes), *other_settings(config_section(content, "model"))):
            raise WeightsError(
                f"weights {source}: the file holds a detector of {layout.name} whose {other} is "
                "not the default, for which alone the other frameworks' settings are given. "
                "Nothing was written."
            )
        rows = len(read["box.logits.weight"])
        classes, dropped = rows - 1, 0
        if layout.background_first:
            by_id = rows == COCO_ROWS and class_ids == BY_COCO_ID
            dropped = classes - len(COCO_IDS) if by_id else 0
            classes -= dropped
            read = background_last(read, class_places(classes, by_coco_id=by_id), rows)
        tensors = {name: value for name, value in notes.items() if isinstance(value, Tensor)}
        return cls(key, trunk, read, classes, front, tensors, dropped)

    @property
    def has_masks(self) -> bool:
        """Returns whether it is a Mask R-CNN, and not a Faster R-CNN."""
        return _has_masks(self.heads)

    @property
    def kind(self) -> str:
        """Returns its name in words."""
        return "Mask R-CNN" if self.has_masks else "Faster R-CNN"

    def counts(self) -> dict[str, int]:
        """Returns how many tensors each part has, the trunk's first."""
        begins = {part: rows[0][0] for part, rows in PARTS.items()}
        heads = {part: sum(n.startswith(own) for n in self.heads) for part, own in begins.items()}
        return {"trunk": len(self.trunk.state)} | {part: n for part, n in heads.items() if n}

    def rows_by_coco_id(self, class_ids: str) -> bool:
        """Returns whether torchvision's layout gives the classes the rows of COCO's ids."""
        return class_ids == BY_COCO_ID and self.classes == len(COCO_IDS)

    def named(self, to: str, class_ids: str = BY_COCO_ID) -> dict[str, Tensor]:
        """Returns the heads by the names of a layout, with classes as it has them."""
        heads, layout = self.heads, LAYOUTS[to]
        if layout.background_first:
            by_id = self.rows_by_coco_id(class_ids)
            count = COCO_ROWS if by_id else self.classes + 1
            heads = background_first(heads, class_places(self.classes, by_coco_id=by_id), count)
        return {_theirs(layout, name): value for name, value in heads.items()}


def _theirs(layout: Layout, name: str) -> str:
    found = layout.heads.from_own(name)
    assert found is not None, f"{name} is no name of PARTS"
    return found


def _has_masks(names: Mapping[str, Any]) -> bool:
    return any(name.startswith("mask.") for name in names)


def _beside(
    content: Mapping[Any, Any], trunk: Checkpoint, source: object
) -> tuple[str, str, dict[str, Any]]:
    """Returns the layout of a file, what stands in front of its names, and what is there beside
    the trunk.
    """
    if not trunk.family:
        raise WeightsError(f"weights {source}: no detector. {trunk.names}Nothing was written.")
    inside = WRAPPERS.sub("", trunk.prefix)
    trunks = [(begin, key) for key, layout in LAYOUTS.items() for begin in layout.trunks]
    for begin, key in sorted(trunks, key=lambda pair: len(pair[0]), reverse=True):
        if not f".{inside}".endswith(f".{begin}"):
            continue
        front = inside.removesuffix(begin)
        around = behind_front(content, inside, front)
        beside = {name: value for name, value in around.items() if not name.startswith(begin)}
        if beside:
            return key, front, beside
    raise WeightsError(
        f"weights {source}: no detector of MMDetection, Detectron2 or torchvision: a trunk without "
        f"heads. {trunk.names}Nothing was written; without --detector the trunk is"
    )


def behind_front(content: Mapping[Any, Any], inside: str, front: str) -> dict[str, Any]:
    """Returns what a file has behind a beginning of names, in the state dict of the trunk whose
    names begin with `inside`; neither has what wrappers put into names.
    """
    entries = entries_of(content)
    container = next(e.container for name, e in entries.items() if name.startswith(inside))
    return {
        name.removeprefix(front): entry.value
        for name, entry in entries.items()
        if name.startswith(front) and entry.container == container
    }


def _checked(
    theirs: Mapping[str, Any], trunk: Checkpoint, layout: Layout, source: object
) -> dict[str, Tensor]:
    """Returns heads by this package's names; WeightsError: they are not all of a detector's."""
    said = f"weights {source}: the file holds a detector of {layout.name}, and"
    if why := layout.reason(list(theirs)):
        raise WeightsError(f"{said} {why}. Nothing was written.")
    own = {name: layout.heads.to_own(name) for name in theirs}
    tensors = {own[n]: v for n, v in theirs.items() if own[n] and isinstance(v, Tensor)}
    read: dict[str, Tensor] = {name: v for name, v in tensors.items() if name is not None}
    if why := _agnostic(read):
        raise WeightsError(f"{said} {why}. Nothing was written.")
    expected = _expected(read, trunk, background=layout.background_first)
    found = compare(
        {_theirs(layout, name): value for name, value in read.items()},
        {_theirs(layout, name): value for name, value in expected.items()},
        unknown=[name for name, known in own.items() if known is None],
        odd={n: str(v) for n, v in theirs.items() if own[n] and not isinstance(v, Tensor)},
    )
    if found:
        kind = "Mask R-CNN" if _has_masks(read) else "Faster R-CNN"
        raise WeightsError(
            f"{said} it is no {kind} with FPN as a whole. Nothing was written.{found}"
        )
    return read


_OF_ALL = {"box.logits": 0, "box.deltas": 4, "mask.logits": 1}
"""So many rows these have where all classes share them; the first never does."""


def _agnostic(heads: Mapping[str, Tensor]) -> str:
    """Returns why heads that do not tell classes apart are not converted; "" where they do."""
    held = ((name, heads.get(f"{name}.weight")) for name in _OF_ALL)
    rows = {name: value.shape[0] for name, value in held if value is not None and value.dim()}
    if rows.get("box.logits", 0) <= 2:  # of one class, which needs no telling apart
        return ""
    for name, count in _OF_ALL.items():
        if rows.get(name) == count:
            what = name.replace(".deltas", "es").replace(".logits", "s")
            return f"its {what} are class-agnostic, which those of torchvision never are"
    return ""


def _expected(
    heads: Mapping[str, Tensor], trunk: Checkpoint, *, background: bool
) -> dict[str, Tensor]:
    """Returns the tensors, without values, of a detector whose widths the given heads have."""

    def width(name: str, usual: int, axis: int = 0) -> int:
        value = heads.get(name)
        return usual if value is None or value.dim() <= axis else value.shape[axis]

    fpn, rows = width("fpn.lateral1.weight", 256), width("box.logits.weight", COCO_ROWS)
    first, second = width("box.fc1.weight", 1024), width("box.fc2.weight", 1024)
    masks, up = width("mask.conv0.weight", 256), width("mask.deconv.weight", 256, axis=1)
    rows = max(rows, 2)  # the background, and a class
    each = rows if background else rows - 1
    network = identify(trunk.state) or Architecture()
    shapes: dict[str, tuple[int, ...]] = {}
    for i in range(len(network.blocks)):
        shapes[f"fpn.lateral{i + 1}"] = fpn, network.out_channels(i), 1, 1
        shapes[f"fpn.output{i + 1}"] = fpn, fpn, 3, 3
    shapes["rpn.conv"] = fpn, fpn, 3, 3
    shapes["rpn.logits"] = len(RATIOS), fpn, 1, 1
    shapes["rpn.deltas"] = 4 * len(RATIOS), fpn, 1, 1
    shapes["box.fc1"] = first, fpn * BINS**2
    shapes["box.fc2"] = second, first
    shapes["box.logits"] = rows, second
    shapes["box.deltas"] = 4 * each, second
    if _has_masks(heads):
        shapes |= {f"mask.conv{i}": (masks, masks if i else fpn, 3, 3) for i in range(4)}
        shapes["mask.deconv"] = masks, up, 2, 2
        shapes["mask.logits"] = each, up, 1, 1
    biases = {name: (shape[0],) for name, shape in shapes.items()}
    if "mask.deconv" in shapes:
        biases["mask.deconv"] = (up,)
    named = {f"{n}.weight": s for n, s in shapes.items()} | {
        f"{n}.bias": s for n, s in biases.items()
    }
    return {name: torch.empty(shape, device="meta") for name, shape in named.items()}
