"""Faster and Mask R-CNN of three frameworks, their own from the trunk to the masks, and small.

They have the same widths, and pixels come normalised: what one finds the others must find.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from ast import literal_eval
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torchvision
from helpers import drawn, randomise
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, MaskRCNN, backbone_utils
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d

from resnext_backbones.adapters.torchvision_detectors import aligned_options
from resnext_backbones.weights.detector_arithmetic import (
    ABSENT,
    COCO_IDS,
    COCO_ROWS,
    UNUSED_IDS,
)

FPN, FC, MASK = 16, 64, 16
GROUPS = WIDTH = 4
PROPOSALS = 100
DELTAS = ("rpn_reg", "fc_reg", "anchor_deltas", "bbox_pred")
COCO = 80


@dataclass(frozen=True)
class Found:
    """What a detector finds in an image: labels from 0, a mask's logits (28, 28) for each box."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor | None


class Peer(ABC):
    """A detector of a framework.

    Those that take `settings`, lines that `resnext convert` prints, are small but for these; with
    `usual` they are all that differs from the framework's base config.
    """

    def __init__(self, model: nn.Module, predictor: nn.Module | None) -> None:
        self.model = randomise(model).eval()
        with torch.no_grad():  # or a box that is off by a thousandth is the next one's by a tenth
            for name, value in model.named_parameters():
                if any(f".{layer}." in name for layer in DELTAS):
                    value.mul_(0.2)
        self.logits = torch.empty(0)
        if predictor is not None:
            predictor.register_forward_hook(self._keep)

    def _keep(self, _: nn.Module, __: Any, logits: Tensor) -> None:
        self.logits = logits

    def _found(self, boxes: Tensor, scores: Tensor, labels: Tensor, rows: Tensor) -> Found:
        masks = None
        if self.logits.numel():
            masks = self.logits[torch.arange(len(rows)), rows]
        return Found(boxes, scores, labels, masks)

    def content(self) -> dict[str, Any]:
        """What the framework saves."""
        return self.model.state_dict()

    @abstractmethod
    def load(self, path: Path) -> None:
        """Takes what a file holds, by the framework's own means."""

    @abstractmethod
    def __call__(self, images: Tensor) -> Found:
        """Returns what the framework finds in images that are normalised."""


class MMDetection(Peer):
    def __init__(
        self, classes: int, *, masks: bool, settings: Sequence[str] = (), usual: bool = False
    ) -> None:
        import mmdet
        from mmdet.registry import MODELS
        from mmengine.config import Config
        from mmengine.registry import init_default_scope

        init_default_scope("mmdet")
        kind = "mask-rcnn" if masks else "faster-rcnn"
        base = Path(mmdet.__file__).parent / f".mim/configs/_base_/models/{kind}_r50_fpn.py"
        cfg = Config.fromfile(base).model
        cfg.test_cfg.rpn.max_per_img = PROPOSALS
        roi = cfg.roi_head
        if usual:
            cfg.backbone = {}
        else:
            cfg.backbone.update(type="ResNeXt", groups=GROUPS, base_width=WIDTH, init_cfg=None)
            cfg.neck.out_channels = FPN
            cfg.rpn_head.update(in_channels=FPN, feat_channels=FPN)
            roi.bbox_head.update(num_classes=classes, in_channels=FPN, fc_out_channels=FC)
            roi.bbox_roi_extractor.out_channels = FPN
            if masks:
                roi.mask_head.update(num_classes=classes, in_channels=FPN, conv_out_channels=MASK)
                roi.mask_roi_extractor.out_channels = FPN
        for line in settings:
            place, words = line.split(": ", 1)
            if place == "custom_imports":
                for module in eval(words.removeprefix("imports=")):
                    import_module(module)
                continue
            if place in ("backbone", "neck") and not usual:
                continue
            part = cfg
            for name in place.split("."):
                part = part[name]
            part.update(eval(f"dict({words})"))
        model = MODELS.build(cfg)
        super().__init__(model, model.roi_head.mask_head.conv_logits if masks else None)

    def content(self) -> dict[str, Any]:
        return {"meta": {}, "state_dict": self.model.state_dict()}

    def load(self, path: Path) -> None:
        from mmengine.runner import load_checkpoint

        load_checkpoint(self.model, str(path), map_location="cpu", strict=True)

    def __call__(self, images: Tensor) -> Found:
        from mmdet.structures import DetDataSample

        shape = tuple(images.shape[-2:])
        meta = {"img_shape": shape, "ori_shape": shape, "scale_factor": (1.0, 1.0)}
        meta |= {"batch_input_shape": shape, "pad_shape": shape}
        with torch.no_grad():
            (found,) = self.model.predict(images, [DetDataSample(metainfo=meta)], rescale=False)
        held = found.pred_instances
        return self._found(held.bboxes, held.scores, held.labels, held.labels)


class Detectron2(Peer):
    def __init__(
        self, classes: int, *, masks: bool, settings: Sequence[str] = (), usual: bool = False
    ) -> None:
        from detectron2 import model_zoo
        from detectron2.modeling import build_model

        kind = "InstanceSegmentation/mask" if masks else "Detection/faster"
        cfg = model_zoo.get_config(f"COCO-{kind}_rcnn_R_50_FPN_3x.yaml")
        cfg.MODEL.DEVICE = "cpu"
        if usual:
            adapter = import_module("resnext_backbones.adapters.detectron2")
            adapter.add_resnext_config(cfg)
        else:
            cfg.MODEL.RESNETS.NUM_GROUPS, cfg.MODEL.RESNETS.WIDTH_PER_GROUP = GROUPS, WIDTH
            cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False
            cfg.MODEL.FPN.OUT_CHANNELS, cfg.MODEL.ROI_BOX_HEAD.FC_DIM = FPN, FC
            cfg.MODEL.ROI_MASK_HEAD.CONV_DIM = MASK
            cfg.MODEL.ROI_HEADS.NUM_CLASSES = classes
        cfg.MODEL.RPN.POST_NMS_TOPK_TEST = PROPOSALS
        for line in settings:
            key, value = line.split(" ", 1)
            if key.startswith("MODEL.BACKBONE.") and not usual:
                continue
            if key == "MODEL.ANCHOR_GENERATOR.NAME":
                import_module("resnext_backbones.adapters.detectron2_anchors")
                value = value.split(",")[0]
            cfg.merge_from_list([key, value if value[0].isalpha() else literal_eval(value)])
        cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [0.0] * 3, [1.0] * 3
        model = build_model(cfg)
        super().__init__(model, model.roi_heads.mask_head.predictor if masks else None)

    def content(self) -> dict[str, Any]:
        return {"model": self.model.state_dict()}

    def load(self, path: Path) -> None:
        from detectron2.checkpoint import DetectionCheckpointer

        loaded = DetectionCheckpointer(self.model)._load_model(_read(path))
        assert not loaded.missing_keys
        assert not loaded.incorrect_shapes
        # Frozen norms have no counters, and take them as they are.
        assert all(key.endswith("num_batches_tracked") for key in loaded.unexpected_keys)

    def __call__(self, images: Tensor) -> Found:
        with torch.no_grad():
            (held,) = self.model.inference([{"image": images[0]}], do_postprocess=False)
        rows = held.pred_classes
        return self._found(held.pred_boxes.tensor, held.scores, rows, rows)


class Torchvision(Peer):
    def __init__(
        self,
        classes: int,
        *,
        masks: bool,
        settings: Sequence[str] = ("aligned_options",),
        pyramid: nn.Module | None = None,
    ) -> None:
        ids = COCO_IDS if classes == COCO else tuple(range(1, classes + 1))
        self.rows = torch.tensor(ids)
        count = COCO_ROWS if classes == COCO else classes + 1
        options: dict[str, Any] = {
            "box_head": TwoMLPHead(FPN * 7**2, FC),
            "box_predictor": FastRCNNPredictor(FC, count),
            "image_mean": [0.0] * 3,
            "image_std": [1.0] * 3,
            "rpn_post_nms_top_n_test": PROPOSALS,
        }
        if masks:
            options["mask_head"] = MaskRCNNHeads(FPN, (MASK,) * 4, 1)
            options["mask_predictor"] = MaskRCNNPredictor(MASK, MASK, count)
        if any("aligned_options" in line for line in settings):
            options |= aligned_options(masks=masks)
        model = (MaskRCNN if masks else FasterRCNN)(pyramid or _pyramid(), **options)
        super().__init__(model, model.roi_heads.mask_predictor if masks else None)
        if count == COCO_ROWS:  # that none of these is found is what training teaches
            with torch.no_grad():
                model.roi_heads.box_predictor.cls_score.bias[list(UNUSED_IDS)] = ABSENT

    def load(self, path: Path) -> None:
        self.model.load_state_dict(torch.load(path, weights_only=True))

    def __call__(self, images: Tensor) -> Found:
        height, width = images.shape[-2:]
        self.model.transform.min_size = (min(height, width),)
        self.model.transform.max_size = max(height, width)
        with torch.no_grad():
            (held,) = self.model(list(images))
        labels = torch.searchsorted(self.rows, held["labels"])
        assert self.rows[labels].equal(held["labels"]), "a class that is none"
        return self._found(held["boxes"], held["scores"], labels, held["labels"])


def _pyramid() -> nn.Module:
    """torchvision's own ResNeXt, as small as the others can be built, and its own pyramid."""
    trunk = torchvision.models.resnet.ResNet(
        torchvision.models.resnet.Bottleneck,
        [3, 4, 6, 3],
        groups=GROUPS,
        width_per_group=WIDTH,
        norm_layer=FrozenBatchNorm2d,
    )
    layers = {f"layer{i + 1}": str(i) for i in range(4)}
    channels = [256, 512, 1024, 2048]
    return backbone_utils.BackboneWithFPN(trunk, layers, channels, FPN)


def tiny(classes: int, *, masks: bool = True, **fields: Any) -> Torchvision:
    """A detector of torchvision on a tiny trunk, with zeros where no value is used; `fields` are
    the trunk's architecture's and options.
    """
    body = drawn(**fields)
    pyramid = nn.Sequential(
        OrderedDict(body=body, fpn=FeaturePyramidNetwork(list(body.channels), FPN))
    )
    pyramid.out_channels = FPN
    detector = Torchvision(classes, masks=masks, pyramid=pyramid)
    spare = [0, *(UNUSED_IDS if classes == COCO else ())]
    for name, value in detector.model.state_dict().items():
        if "box_predictor.bbox_pred" in name:
            value.unflatten(0, (-1, 4))[spare] = 0
        elif "mask_fcn_logits" in name:
            value[spare] = 0
        elif "cls_score.weight" in name:
            value[spare[1:]] = 0
    return detector


def _read(path: Path) -> dict[str, Any]:
    """A file as Detectron2's checkpointer reads it."""
    import pickle

    if path.suffix == ".pkl":
        return pickle.loads(path.read_bytes())
    return torch.load(path, weights_only=True)


PEERS = {"mmdet": MMDetection, "detectron2": Detectron2, "torchvision": Torchvision}
SUFFIXES = {"mmdet": ".pth", "detectron2": ".pkl", "torchvision": ".pth"}


def same(found: Found, expected: Found) -> None:
    """Boxes to a tenth of a pixel, scores and masks' logits to 1e-4."""
    assert len(expected.boxes) > 5, "nothing is compared"
    assert found.labels.equal(expected.labels)
    assert (found.boxes - expected.boxes).abs().max() <= 0.1
    assert (found.scores - expected.scores).abs().max() <= 1e-4
    if expected.masks is not None:
        assert found.masks is not None
        assert expected.masks.std() > 0.01
        assert (found.masks - expected.masks).abs().max() <= 1e-4
