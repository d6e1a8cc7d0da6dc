"""Networks of transformers on the trunk, so small that they compute in milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
import transformers
from helpers import SMALL
from torch import Tensor, nn

from resnext_backbones.adapters.transformers import ResNeXtBackbone, ResNeXtConfig
from resnext_backbones.adapters.transformers_config import OPTIONS

BEFORE_5 = int(transformers.__version__.partition(".")[0]) < 5
STAGES = [f"stage{i}" for i in (1, 2, 3, 4)]
FIELDS = {name: value for name, value in asdict(SMALL).items() if value is not None}
SIZE = (64, 96)


def config(**words: Any) -> ResNeXtConfig:
    """Describes a trunk that computes in milliseconds."""
    return ResNeXtConfig(**{**FIELDS, "out_features": STAGES, **words})


NO_TIMM = {"use_timm_backbone": False, "use_pretrained_backbone": False} if BEFORE_5 else {}
TINY = {
    **{"d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "num_queries": 4, "num_labels": 3},
    **{"encoder_attention_heads": 2, "decoder_attention_heads": 2},
    **{"encoder_ffn_dim": 32, "decoder_ffn_dim": 32},
}
DETR = {**NO_TIMM, **TINY, "backbone": None}
RT_DETR = {
    **TINY,
    **{"encoder_in_channels": [128, 256, 512], "decoder_in_channels": [32, 32, 32]},
    **{"encoder_hidden_dim": 32, "num_denoising": 0, "hidden_expansion": 0.5},
}
MASK = {"mask_feature_size": 32, "num_labels": 3}


def boxes() -> dict[str, Any]:
    one = {"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.4, 0.3]])}
    return {"labels": [one, one]}


def masks() -> dict[str, Any]:
    mask = torch.zeros(1, *SIZE)
    mask[:, 10:40, 20:60] = 1
    return {"mask_labels": [mask, mask], "class_labels": [torch.tensor([1])] * 2}


def pixels() -> dict[str, Any]:
    return {"labels": torch.arange(2 * SIZE[0] * SIZE[1]).reshape(2, *SIZE) % 3}


NETWORKS: dict[str, tuple[str, str, list[str], dict[str, Any], Callable[[], dict[str, Any]]]] = {
    "DETR": ("DetrConfig", "DetrForObjectDetection", STAGES[3:], DETR, boxes),
    "Conditional DETR": (
        "ConditionalDetrConfig",
        "ConditionalDetrForObjectDetection",
        STAGES[3:],
        DETR,
        boxes,
    ),
    "Deformable DETR": (
        "DeformableDetrConfig",
        "DeformableDetrForObjectDetection",
        STAGES[1:],
        {**DETR, "encoder_n_points": 2, "decoder_n_points": 2},
        boxes,
    ),
    "RT-DETR": ("RTDetrConfig", "RTDetrForObjectDetection", STAGES[1:], RT_DETR, boxes),
    "RT-DETRv2": ("RTDetrV2Config", "RTDetrV2ForObjectDetection", STAGES[1:], RT_DETR, boxes),
    "Mask2Former": (
        "Mask2FormerConfig",
        "Mask2FormerForUniversalSegmentation",
        STAGES,
        {
            **{**NO_TIMM, **MASK, "feature_size": 32, "hidden_dim": 32, "num_attention_heads": 2},
            **{"encoder_feedforward_dim": 32, "dim_feedforward": 32, "num_queries": 4},
            **{"encoder_layers": 1, "decoder_layers": 2, "train_num_points": 64},
        },
        masks,
    ),
    "MaskFormer": (
        "MaskFormerConfig",
        "MaskFormerForInstanceSegmentation",
        STAGES,
        {**MASK, "fpn_feature_size": 32},
        masks,
    ),
    "UperNet": (
        "UperNetConfig",
        "UperNetForSemanticSegmentation",
        STAGES,
        {
            **{"hidden_size": 16, "pool_scales": [1, 2], "num_labels": 3},
            **{"auxiliary_channels": 8, "auxiliary_in_channels": 256},
        },
        pixels,
    ),
}
"""The config and the class of each, the stages that it takes, a small one's words, and labels."""


def network(name: str, **words: Any) -> tuple[nn.Module, ResNeXtBackbone]:
    """Builds one of `NETWORKS`; words are the backbone's."""
    config_class, cls, features, own, _ = NETWORKS[name]
    own = dict(own)
    if name == "MaskFormer":
        own["decoder_config"] = transformers.DetrConfig(**TINY)
    backbone = config(out_features=features, **words)
    settled = getattr(transformers, config_class)(backbone_config=backbone, **own)
    built = getattr(transformers, cls)(settled)
    return built, backbone_of(built)


def backbone_of(detector: nn.Module) -> ResNeXtBackbone:
    (found,) = (m for m in detector.modules() if isinstance(m, ResNeXtBackbone))
    return found


def words_of(settled: ResNeXtConfig) -> dict[str, Any]:
    """Returns a config's own words: transformers adds the type and the place of what it loads."""
    names = ("architecture", "weights", "out_features", "out_indices", *OPTIONS)
    return {name: getattr(settled, name) for name in names}


def images() -> Tensor:
    return torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(v.equal(second[k]) for k, v in first.items())
