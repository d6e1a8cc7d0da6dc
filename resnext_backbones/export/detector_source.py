"""A file with a whole detector becomes torchvision's network, with the settings that it had."""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops.feature_pyramid_network import (
    FeaturePyramidNetwork,
    LastLevelMaxPool,
    LastLevelP6P7,
)

from resnext_backbones.adapters.torchvision import NamedResNeXt, ResNeXtFPN
from resnext_backbones.adapters.torchvision_detectors import aligned_options
from resnext_backbones.errors import InputError
from resnext_backbones.export.detector_facts import UNNAMED, coco_names
from resnext_backbones.export.detector_settings import EXPORTED, check_given, mmdetection_settings
from resnext_backbones.models.architecture import METADATA, Architecture
from resnext_backbones.weights.checkpoint import EPS, Checkpoint
from resnext_backbones.weights.configs import config_section, pixels_in
from resnext_backbones.weights.detector_arithmetic import COCO_ROWS
from resnext_backbones.weights.detector_eps import batch_norms, eps_of, give_eps
from resnext_backbones.weights.detector_names import CONTIGUOUS, TORCHVISION
from resnext_backbones.weights.detectors import behind_front
from resnext_backbones.weights.download import hash_of
from resnext_backbones.weights.errors import WeightsError
from resnext_backbones.weights.files import read_file
from resnext_backbones.weights.find import WRAPPERS, entries_of, said_of
from resnext_backbones.weights.preprocessing import RGB, Preprocessing
from resnext_backbones.weights.recorded import recorded_architecture, recorded_pixels
from resnext_backbones.weights.sources import agreed
from resnext_backbones.weights.write import architecture_of, metadata_of, network_of
from resnext_backbones.weights.write_detectors import ALIGNED, convert_detector

TRUNK = "backbone.body."
RETINANET, FCOS = "head.classification_head.cls_logits.weight", "bbox_ctrness.weight"
"""torchvision's RetinaNet has the first alone, its FCOS both, and no other of its detectors any."""

UNSCALED = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}
"""Pixels come normalised, as the metadata of the file say."""

RETINANET_ANCHORS = 9

STRIDES = (
    "strides: of the 3x3 convolutions, since the file does not say it; most of Detectron2's own "
    "ResNets stride in the first 1x1 one, and are another detector"
)


@dataclass(frozen=True)
class Source:
    """Holds a detector as it was trained.

    Attributes:
        network: torchvision's, in eval mode.
        kind: its class, in words of `resnext train`.
        said: of the trunk and its weights, for the metadata.
        pixels: that it expects.
        classes: names by label, the background's first; empty where the file does not say them.
        notes: what was taken for granted, in words.
    """

    network: nn.Module
    kind: str
    said: Mapping[str, str]
    pixels: Preprocessing
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Asked:
    """Holds a file, as it was named and as it is, and what is said of it beside."""

    source: str
    file: Path
    content: Mapping[str, Any]
    pixels: Preprocessing | None
    norm_eps: float | None
    given: Mapping[str, Any]


def detector_source(
    source: str,
    file: Path,
    *,
    pixels: Preprocessing | None = None,
    norm_eps: float | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Source:
    """Returns the detector of a file.

    Args:
        source, file: as it was named, and where it lies.
        pixels, norm_eps: what the file does not say, as of `convert_detector`.
        settings: arguments of torchvision's class that the file does not say, such as `min_size`.

    Raises:
        InputError: it is of a kind that is not exported, a setting cannot be met, or the file says
            other pixels, or another eps.
        WeightsError: as `convert_detector`.
    """
    content = read_file(file)
    asked = _Asked(source, file, content, pixels, norm_eps, settings or {})
    model = config_section(content, "model")
    if isinstance(model, Mapping) and str(model.get("type")).startswith("resnext_backbones."):
        return _of_run(asked, model)
    try:
        names = entries_of(content)
        if any(n.endswith(RETINANET) for n in names) and not any(n.endswith(FCOS) for n in names):
            return _retinanet(asked)
        return _two_stages(asked, model)
    except WeightsError as error:
        raise WeightsError(f"{error}\n{EXPORTED}") from None


def _of_run(asked: _Asked, model: Mapping[str, Any]) -> Source:
    """Returns the detector of a run with torchvision's, as its own config builds it."""
    from mmengine.config import Config
    from mmengine.registry import MODELS

    from resnext_backbones.engine.checks.network import build_on_meta, differences
    from resnext_backbones.tasks.torchvision.models import DETECTOR

    source, content = asked.source, asked.content
    if model["type"] != DETECTOR:
        raise InputError(f"{source}: holds a {model['type']}, which is no detector. {EXPORTED}")
    check_given(asked.given, model["network"])
    held_pixels = agreed("pixels", asked.pixels, pixels_in(model, read_as="RGB"), source)
    options = {**(model.get("options") or {}), **asked.given}
    sizes = {name: options.pop(name) for name in ("min_size", "max_size") if name in options}
    backbone = {**model["backbone"], "weights": None}
    cfg = Config({"model": {**model, **sizes, "options": options, "backbone": backbone}})
    found, held, network = differences(asked.file, content, build_on_meta(cfg))
    if found:
        raise InputError(found.message(f"checkpoint {source}", held, network))
    built = MODELS.build(cfg.model)
    built.load_state_dict(content["state_dict"])
    body = built.network.backbone.body
    agreed("norm-eps", asked.norm_eps, body.presupposed().eps, source)
    names = (content.get("meta", {}).get("dataset_meta") or {}).get("classes", ())
    return Source(
        built.network.eval().requires_grad_(False),
        model["network"],
        _said(asked, model["backbone"]["variant"], body),
        held_pixels,
        _classes(names),
    )


def _two_stages(asked: _Asked, config: Any) -> Source:
    """Returns a Faster or Mask R-CNN of any layout, by way of torchvision's."""
    source, file, content, pixels = asked.source, asked.file, asked.content, asked.pixels
    notes: list[str] = []
    names = (content.get("meta") or {}).get("dataset_meta") or {}
    settings: dict[str, Any] = {}
    if isinstance(config, Mapping):
        settings, written, notes = mmdetection_settings(source, content["meta"]["cfg"])
        pixels = agreed("pixels", pixels, written, source)
    prefix = Checkpoint.of(content, source=source).prefix
    pixels = agreed("pixels", pixels, recorded_pixels(source, file, content, prefix), source)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "detector.pth"
        done = convert_detector(
            file,
            path,
            TORCHVISION,
            pixels=pixels,
            class_ids=CONTIGUOUS,
            norm_eps=asked.norm_eps,
        )
        state = read_file(path)
    layout = done.detector.layout
    if not settings:
        notes.append(
            "settings: the file does not say them, so sizes, thresholds and numbers of boxes are "
            f"those that {layout} has by default; --set NAME=VALUE gives another"
        )
        if layout == TORCHVISION:
            notes.append(
                "anchors, pools: torchvision's own, which the file does not say either; a detector "
                "that was built with others is exported from a run's checkpoint, which has them"
            )
        settings = {"size_divisible": 32}
    said = said_of(state, TRUNK)
    architecture = network_of(_trunk(state), said)
    stock = layout != TORCHVISION and METADATA not in said and not isinstance(config, Mapping)
    if stock and architecture.cardinality == 1:
        notes.append(STRIDES)
    body = _body(architecture, state, (0, 1, 2, 3))
    fpn, widths = _widths(state)
    pyramid = _pyramid(body, fpn, LastLevelMaxPool())
    rows = len(state["roi_heads.box_predictor.cls_score.weight"])
    masks = done.detector.has_masks
    options: dict[str, Any] = {
        **(aligned_options(masks=masks, strides=body.strides) if ALIGNED in said else {}),
        "box_head": TwoMLPHead(fpn * 49, widths["fc"]),
        "box_predictor": FastRCNNPredictor(widths["fc"], rows),
    }
    if masks:
        options |= {
            "mask_head": MaskRCNNHeads(fpn, (widths["mask"],) * 4, 1),
            "mask_predictor": MaskRCNNPredictor(widths["mask"], widths["up"], rows),
        }
    kind = "mask_rcnn" if masks else "faster_rcnn"
    check_given(asked.given, kind)
    build = detection.MaskRCNN if masks else detection.FasterRCNN
    network = build(pyramid, None, **{**options, **UNSCALED, **settings, **asked.given})
    _load(network, state, source)
    notes += [change for change in done.changed if "assumed" in change]
    classes = _classes(names.get("classes") or names.get("CLASSES"))
    if layout == TORCHVISION:
        classes = coco_names(file, rows, state["roi_heads.box_predictor.cls_score.bias"])
    if rows == COCO_ROWS and not classes:
        notes.append(UNNAMED)
    return Source(
        network.eval().requires_grad_(False),
        kind,
        _said(asked, done.detector.trunk.variant, body),
        done.pixels,
        classes,
        tuple(notes),
    )


def _retinanet(asked: _Asked) -> Source:
    """Returns torchvision's RetinaNet, of its first or its second builder."""
    source, file, content = asked.source, asked.file, asked.content
    check_given(asked.given, "retinanet")
    held = Checkpoint.of(content, source=source)
    inside = WRAPPERS.sub("", held.prefix)
    if not inside.endswith(TRUNK):
        raise WeightsError(f"weights {source}: a RetinaNet on another trunk. {held.names}".rstrip())
    state = behind_front(content, inside, inside.removesuffix(TRUNK))
    architecture = architecture_of(source, file, content, held, None)
    said = metadata_of(source, file, held.variant, architecture, None)
    made = network_of(held.state, said)
    if batch_norms(held.state):  # they are scaled for the usual eps below
        made = replace(made, eps=EPS)
    normed = any(".conv.0.1.weight" in key for key in state)
    p6 = state["backbone.fpn.extra_blocks.p6.weight"].shape[1]
    body = _body(made, state, (1, 2, 3))
    pyramid = _pyramid(body, 256, LastLevelP6P7(p6, 256))
    rows = len(state[RETINANET]) // RETINANET_ANCHORS
    norm = partial(nn.GroupNorm, 32) if normed else None
    head = RetinaNetHead(256, RETINANET_ANCHORS, rows, norm_layer=norm)
    network = detection.RetinaNet(pyramid, rows, head=head, **{**UNSCALED, **asked.given})
    _load(network, state, source)
    notes = ["settings: torchvision's of RetinaNet, since the file does not say them"]
    trunk = dict(body.state_dict())
    if norms := batch_norms(trunk):
        stated = recorded_architecture(file, content, source) or held.said
        eps, why = eps_of(TORCHVISION, file, stated, asked.norm_eps, source)
        give_eps(trunk, norms, eps, source)
        body.load_state_dict(trunk)
        notes += [f"norms: an eps of {eps:g}, {why}"] if "assumed" in why else []
    stated_pixels = recorded_pixels(source, file, content, held.prefix)
    pixels = agreed("pixels", asked.pixels, stated_pixels, source)
    notes += [] if pixels else [f"pixels: {RGB}, torchvision's, since the file does not say them"]
    classes = coco_names(file, rows)
    notes += [UNNAMED] if rows == COCO_ROWS and not classes else []
    return Source(
        network.eval().requires_grad_(False),
        "retinanet",
        _said(asked, held.variant, body),
        pixels or RGB,
        classes,
        tuple(notes),
    )


def _load(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        first, kind = str(error).splitlines()[1].strip(), type(network).__name__
        raise InputError(f"{source}: does not fit torchvision's {kind}: {first}") from None


def _trunk(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(TRUNK): v for k, v in state.items() if k.startswith(TRUNK)}


def _widths(state: Mapping[str, Tensor]) -> tuple[int, dict[str, int]]:
    """Returns the channels of the pyramid, and the widths of the heads."""
    fc, conv = state["roi_heads.box_predictor.cls_score.weight"], "roi_heads.mask_head.0.0.weight"
    up = state.get("roi_heads.mask_predictor.mask_fcn_logits.weight")
    widths = {"fc": fc.shape[1]}
    if up is not None:
        widths |= {"mask": len(state[conv]), "up": up.shape[1]}
    return len(state["backbone.fpn.inner_blocks.0.0.weight"]), widths


def _body(made: Architecture, state: Mapping[str, Tensor], stages: tuple[int, ...]) -> NamedResNeXt:
    stages = tuple(i for i in stages if i < len(made.blocks))
    names = [str(i) for i in range(len(stages))]
    frozen = not any(key.endswith("num_batches_tracked") for key in _trunk(state))
    norm = "FrozenBN" if frozen else "BN"
    return NamedResNeXt(made, names=names, out_indices=stages, norm=norm)


def _pyramid(body: NamedResNeXt, channels: int, top: Any) -> ResNeXtFPN:
    fpn = FeaturePyramidNetwork(list(body.channels), channels, top)
    pyramid = ResNeXtFPN(OrderedDict(body=body, fpn=fpn))
    pyramid.out_channels = channels
    return pyramid


def _said(asked: _Asked, variant: str, body: NamedResNeXt) -> dict[str, str]:
    source = asked.source
    return {
        "variant": variant,
        **body.presupposed().to_metadata(),
        "source": Path(source).name if "://" not in source else source,
        "sha256": hash_of(asked.file),
    }


def _classes(names: Any) -> tuple[str, ...]:
    return ("__background__", *map(str, names)) if names else ()
