"""Whole detectors become ONNX files that take one image of any size, and return what is in it."""

from __future__ import annotations

import contextlib
import copy
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet
from torchvision.ops.poolers import LevelMapper, MultiScaleRoIAlign

from resnext_backbones.adapters.torchvision_detectors import AlignedRoIAlign
from resnext_backbones.errors import RunError
from resnext_backbones.export import to_onnx
from resnext_backbones.export.compare import called, timed
from resnext_backbones.export.detector_check import Found, Match, images_for, matched
from resnext_backbones.export.detector_source import Source
from resnext_backbones.export.facts import WHOLE
from resnext_backbones.export.metadata import made_by, missing, preprocessing_text
from resnext_backbones.export.subject import INPUT
from resnext_backbones.export.traced_detection import traceable
from resnext_backbones.io import atomic_files
from resnext_backbones.reports.units import columns
from resnext_backbones.weights.choose import milliseconds

THRESHOLD = "score_threshold"
"""This constant of a file is what boxes must score more than."""

MADE_WITH = 1, 3, 224, 320
"""The image that is traced has this shape; no file is checked with it."""

OPSET = 18
LEVELS = 5
FEW = 10
"""With fewer boxes than these in all images they are compared with a threshold of 0 as well."""

REPEATS = 2


@dataclass(frozen=True)
class Row:
    """Holds what one image showed; seconds are of a call, in the runtime and in PyTorch."""

    match: Match
    seconds: float
    torch_seconds: float


@dataclass(frozen=True)
class WrittenDetector:
    """Says what was written, and what its check showed at a threshold of scores."""

    path: Path
    source: Source
    bytes: int
    threshold: float
    rows: list[Row]


class _OneImage(nn.Module):
    """Takes an image (1, 3, H, W) and a threshold, and returns what a detector finds, in order."""

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, images: Tensor, threshold: Tensor) -> tuple[Tensor, ...]:
        with _threshold(self.network, threshold):
            (found,) = self.network([images[0]])
        return tuple(found[name] for name in self.names)


def write_detector(source: Source, path: Path, images: Path | None = None) -> WrittenDetector:
    """Writes a detector as ONNX, runs it on three images, and compares what it finds.

    The file takes `images` (1, 3, H, W), float32 and normalised, of any size, scales it as the
    detector does, and returns `boxes` (N, 4) in its pixels, x1 y1 x2 y2, `labels` and `scores` (N,)
    and, of Mask R-CNN, `masks` (N, 1, H, W) of probabilities.

    Args:
        path: of the file, which gets its name when all is alike.
        images: a folder with images of three sizes at least; None draws them.

    Raises:
        InputError: a library is missing, or the folder has no such images.
        RunError: the file fails, or finds something else than PyTorch.
    """
    to_onnx.check()
    shown = images_for(images, source.pixels)
    _settle_scales(source.network)
    names = _outputs(source.network)
    metadata = _metadata(source, names)
    with atomic_files(path) as temporary:
        _trace(source.network, names, temporary, metadata)
        if absent := missing(metadata, to_onnx.metadata(temporary)):
            raise RunError(f"{path}: the file does not say {', '.join(absent)}")
        usual = _heads(source.network).score_thresh
        threshold, rows = usual, _compared(source, temporary, names, shown, usual)
        if sum(row.match.pairs for row in rows) < FEW and usual > 0:
            threshold, rows = 0.0, _compared(source, temporary, names, shown, 0.0)
        size = temporary.stat().st_size
    return WrittenDetector(path, source, size, threshold, rows)


def lines_of(written: WrittenDetector) -> list[str]:
    """Returns a headline, a table with a line for each image, and what its user must know."""
    source, head = written.source, ["image", "boxes", "box", "score", "ONNX Runtime", "PyTorch"]
    masks = "masks" in _outputs(source.network)
    rows = []
    for row in written.rows:
        each = row.match
        cells = [" x ".join(map(str, each.size)), str(each.pairs), f"{each.box:.1e} px"]
        cells += [f"{each.score:.1e}", milliseconds(row.seconds), milliseconds(row.torch_seconds)]
        rows.append([*cells[:4], f"{each.mask:.1e}", *cells[4:]] if masks else cells)
    head = [*head[:4], "mask", *head[4:]] if masks else head
    lines = [
        f"{written.path}: {written.bytes / 1e6:.1f} MB",
        f"{source.said['variant']}, {source.kind}, {len(source.classes) or 'unnamed'} classes"
        + (", the background among them" if source.classes else ""),
        f"pixels: {source.pixels}",
        *source.notes,
        f"largest differences from PyTorch, at a score threshold of {written.threshold:g}:",
        *columns([head, *rows], right=range(1, len(head))),
    ]
    counted = {
        "swapped": "boxes are in another order, with scores as good as equal",
        "edge": "boxes are in one of both only, as good as the last that is kept",
        "moved": "masks were not compared: a corner of their box rounds to another pixel",
    }
    for field, words in counted.items():
        if count := sum(getattr(row.match, field) for row in written.rows):
            lines.append(f"{count} {words}")
    if not any(row.match.pairs for row in written.rows):
        lines.append("no box of any image was compared, which proves little: give --images")
    return lines


def _heads(network: Any) -> Any:
    """Returns the module that has the threshold and the number of boxes."""
    return network if isinstance(network, RetinaNet) else network.roi_heads


@contextlib.contextmanager
def _threshold(network: nn.Module, value: Any) -> Iterator[None]:
    heads = _heads(network)
    before, heads.score_thresh = heads.score_thresh, value
    try:
        yield
    finally:
        heads.score_thresh = before


def _settle_scales(network: Any) -> None:
    """Gives torchvision's pools the strides of the maps, which they else guess from the first image
    that they see, wrongly from a small one.
    """
    for pool in network.modules():
        if isinstance(pool, MultiScaleRoIAlign) and not isinstance(pool, AlignedRoIAlign):
            strides = network.backbone.body.strides
            pool.scales = [1 / stride for stride in strides]
            first, last = (stride.bit_length() - 1 for stride in (strides[0], strides[-1]))
            pool.map_levels = LevelMapper(first, last, pool.canonical_scale, pool.canonical_level)


def _outputs(network: Any) -> list[str]:
    masks = not isinstance(network, RetinaNet) and network.roi_heads.has_mask()
    return ["boxes", "labels", "scores", *(["masks"] if masks else [])]


def _metadata(source: Source, names: Sequence[str]) -> dict[str, str]:
    network: Any = source.network
    transform = network.transform
    return {
        **source.said,
        "task": "detector",
        "detector": source.kind,
        "classes": json.dumps(source.classes),
        "outputs": json.dumps(names),
        "preprocessing": preprocessing_text(source.pixels, WHOLE),
        "min_size": str(transform.min_size[-1]),
        "max_size": str(transform.max_size),
        THRESHOLD: str(_heads(source.network).score_thresh),
        "format": "onnx",
        "precision": "float32",
        **made_by(),
    }


def _trace(
    network: nn.Module, names: Sequence[str], path: Path, metadata: Mapping[str, str]
) -> None:
    import onnx

    traced: Any = copy.deepcopy(network)
    with contextlib.suppress(ValueError):  # a norm that is no batch norm stays
        traced.backbone.body = traced.backbone.body.fuse()
    heads = _heads(traced)
    rows = traced.head.classification_head.num_classes if heads is traced else 0
    groups = rows or heads.box_predictor.cls_score.out_features
    given = torch.rand(MADE_WITH), torch.tensor(heads.score_thresh)
    free = {INPUT: {2: "height", 3: "width"}} | {name: {0: "boxes"} for name in names}
    if "masks" in free:
        free["masks"] |= {2: "height", 3: "width"}
    with warnings.catch_warnings(), traceable(max(groups, LEVELS)), torch.no_grad():
        warnings.simplefilter("ignore")  # that values become constants: the check shows which
        torch.onnx.export(
            _OneImage(traced, names).eval(),
            given,
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT, THRESHOLD],
            output_names=list(names),
            dynamic_axes=free,
        )
    model = onnx.load(path)
    graph = model.graph
    graph.input.remove(next(each for each in graph.input if each.name == THRESHOLD))
    _set_threshold(graph, heads.score_thresh)
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.save(model, path)


def _set_threshold(graph: Any, value: float) -> None:
    from onnx import numpy_helper

    for held in [each for each in graph.initializer if each.name == THRESHOLD]:
        graph.initializer.remove(held)
    graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), THRESHOLD))


def _compared(
    source: Source,
    path: Path,
    names: Sequence[str],
    images: Sequence[NDArray[np.float32]],
    threshold: float,
) -> list[Row]:
    run = _runner(path, names, threshold)
    heads = _heads(source.network)

    def reference(image: NDArray[np.float32]) -> Found:
        with torch.inference_mode(), _threshold(source.network, threshold):
            (found,) = source.network([torch.from_numpy(image)[0]])
        return {name: found[name].numpy() for name in names}

    rows = []
    for image in images:
        size = image.shape[2], image.shape[3]
        found = called(partial(run, image), f"ONNX Runtime: fails on {size[0]} x {size[1]}")
        match = matched(
            found, reference(image), size, most=heads.detections_per_img, least=threshold
        )
        calls = partial(run, image), partial(reference, image)
        rows.append(Row(match, *timed(*calls, repeats=REPEATS)))
    return rows


def _runner(
    path: Path, names: Sequence[str], threshold: float
) -> Callable[[NDArray[np.float32]], Found]:
    """Returns what runs a file with a threshold in the place of its own."""
    import onnx

    model = onnx.load(path)
    _set_threshold(model.graph, threshold)
    session = to_onnx.session(model.SerializeToString())
    return lambda image: dict(zip(names, session.run(None, {INPUT: image}), strict=True))
