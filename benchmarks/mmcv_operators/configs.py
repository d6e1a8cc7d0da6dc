"""The configs with a ResNeXt that MMDetection ships, each as a whole detector at reduced size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mmdet
import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs, demo_track_inputs
from mmengine.config import Config, ConfigDict
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn

SHIPPED = Path(mmdet.__file__).parent / ".mim" / "configs"
IMAGE = 3, 96, 128
PROPOSALS, SAMPLES = 60, 32
CLASSES = 10
"""Labels go up to this; all configs know more classes."""
SEMANTIC_STRIDE = 8
"""The stride of the semantic labels of HTC and SCNet, as their pipelines set it."""


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yields every mapping in a config."""
    if isinstance(tree, dict):
        yield tree
        tree = list(tree.values())
    if isinstance(tree, list | tuple):
        for child in tree:
            yield from nodes(child)


def shipped() -> dict[str, dict[str, Any]]:
    """Returns the models with a ResNeXt, as plain mappings, by the name of their config."""
    found = {}
    for path in sorted(SHIPPED.rglob("*.py")):
        if "_base_" in path.parts:
            continue
        try:
            cfg = Config.fromfile(path, import_custom_modules=False)
        except (OSError, ImportError, KeyError):
            continue  # some shipped configs inherit from files that are not shipped
        model = cfg.to_dict().get("model")
        if any(node.get("type") == "ResNeXt" for node in nodes(model)):
            found[str(path.relative_to(SHIPPED).with_suffix(""))] = model
    return found


def reduce(model: dict[str, Any]) -> None:
    """Makes a model small, in place: one block a stage, few proposals; the heads stay."""
    for node in nodes(model):
        if dict(node.get("init_cfg") or {}).get("type") == "Pretrained":
            node["init_cfg"] = None
        if node.get("type") == "ResNeXt":
            node.update(type="resnext_backbones.ResNeXt", depth=(1, 1, 1, 1))
            # A last norm of zero would leave the convolutions before it without a gradient.
            node.update(zero_init_residual=False)
        for key, most in (("max_per_img", PROPOSALS), ("nms_pre", PROPOSALS * 5)):
            if isinstance(node.get(key), int):
                node[key] = min(node[key], most)
        if "Sampler" in str(node.get("type")) and "num" in node:
            node["num"] = min(node["num"], SAMPLES)
        # An untrained detector is sure of nothing, and guided anchoring needs a location.
        for key, threshold in (("score_thr", 0.01), ("loc_filter_thr", 0.005)):
            if key in node:
                node[key] = min(node[key], threshold)


def build(model: dict[str, Any], seed: int) -> nn.Module:
    """Returns the detector with random weights; outputs and offsets are of a usual size."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    reduce(model)
    MMLogger.get_current_instance().setLevel("WARNING")  # else each parameter is a line
    detector = MODELS.build(ConfigDict(model))
    detector.init_weights()
    detector = revert_sync_batchnorm(detector)
    with torch.no_grad():
        for name, parameter in detector.named_parameters():
            if parameter.dim() >= 2:
                # Whole numbers are kinks of deformable convolutions: offsets are not zero.
                gain = 0.1 if "offset" in name else 1.0
                parameter.normal_(0.0, gain / parameter[0].numel() ** 0.5)
    return detector


def is_tracker(detector: nn.Module) -> bool:
    return hasattr(detector, "track_head")


def inputs(detector: nn.Module, training: bool) -> dict[str, Any]:
    """Returns random images with random annotations."""
    np.random.seed(0)
    if is_tracker(detector):
        frames, key = (2, [0]) if training else (1, None)
        return demo_track_inputs(1, frames, key, IMAGE, num_classes=2, with_mask=True)
    images = 2 if training else 1  # the masked convolutions of guided anchoring take one
    return demo_mm_inputs(
        images,
        IMAGE,
        num_items=[4, 6][:images],
        num_classes=CLASSES,
        sem_seg_output_strides=SEMANTIC_STRIDE,
        with_mask=True,
        with_semantic=True,
    )


def losses_of(detector: Any, seed: int) -> dict[str, Tensor]:
    """Returns the losses of a training step by name; samplers draw from the seed."""
    detector.train()
    # TOOD's first epochs assign labels in another way; the runner says here which one it is.
    MessageHub.get_current_instance().update_info("epoch", 0)
    data = detector.data_preprocessor(inputs(detector, training=True), True)
    torch.manual_seed(seed)
    np.random.seed(seed)
    losses = detector(**data, mode="loss")
    return {
        name: torch.stack(value).sum() if isinstance(value, list) else value
        for name, value in losses.items()
        if "loss" in name
    }


def detections_of(detector: Any) -> list[dict[str, Tensor]]:
    """Returns what a test step finds in each image: boxes, scores, labels, masks."""
    detector.eval()
    data = detector.data_preprocessor(inputs(detector, training=False), False)
    with torch.no_grad():
        samples = detector(**data, mode="predict")
    if is_tracker(detector):
        samples = [frame for sample in samples for frame in sample]
        return [fields(sample.pred_track_instances) for sample in samples]
    return [fields(sample.pred_instances) for sample in samples]


def fields(instances: Any) -> dict[str, Tensor]:
    return {key: torch.as_tensor(value) for key, value in instances.items()}
