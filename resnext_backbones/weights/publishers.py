"""Says where groups of published weights come from, and what they have in common.

All of them stride in the 3x3 convolution of a block.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from resnext_backbones.weights.preprocessing import BGR, BGR_UNSCALED, RGB, Preprocessing

TRAINED, FUSED, GN = "trained", "fused", "GN"


@dataclass(frozen=True)
class Source:
    """Says where a group of checkpoints comes from, and what they have in common.

    Attributes:
        addresses: of their files, in the order in which to try; the fields of a row stand in
            braces. `hf://OWNER/REPOSITORY/FILE` is on the Hugging Face Hub.
        licence: of the weights.
        reference: where they are published, with their accuracies.
        preprocessing: the pixels that they expect.
        norms: `TRAINED`; `FUSED`, which only scale and shift, and must stay in eval mode; or `GN`.
        standardised: whether the weights of the convolutions are standardised at each step (Qiao
            et al., 2019), as mmcv's ConvWS does; in a plain convolution they are worth nothing.
        classes: of the images that they were trained on, and of their head.
    """

    addresses: tuple[str, ...]
    licence: str
    reference: str
    preprocessing: Preprocessing = RGB
    norms: str = TRAINED
    standardised: bool = False
    classes: int = 1000


class Crop(NamedTuple):
    """Says which part of an image an accuracy is of: the middle of it, `size` pixels a side, where
    its shorter side has `resize` by an interpolation.
    """

    size: int = 224
    resize: int = 256
    interpolation: str = "bilinear"


WHOLE = "whole"
"""In the place of a crop: images as they are."""

BSD, APACHE, MIT = "BSD-3-Clause", "Apache-2.0", "MIT"
NONCOMMERCIAL, SHARE_ALIKE, NOT_STATED = "CC BY-NC 4.0", "CC BY-SA 3.0", "not stated"

FREE = (APACHE, BSD, MIT)
"""With these licences all may use weights, also to earn money."""

FB = "https://dl.fbaipublicfiles.com"
TORCH = "https://download.pytorch.org/models/{file}"
TORCH_PAGES = "https://docs.pytorch.org/vision/stable/models"
TIMM_FILES = "https://github.com/huggingface/pytorch-image-models/releases/download/{file}"
GLUON_FILES = "https://github.com/rwightman/pytorch-pretrained-gluonresnet/releases/download/{file}"
MM_FILES = ("https://download.openmmlab.com", "https://mmassets.onedl.ai")
TIMM_RESULTS = (
    "https://github.com/huggingface/pytorch-image-models/blob/main/results/results-imagenet.csv"
)
MMENGINE = "https://github.com/open-mmlab/mmengine/blob/main/mmengine/hub/openmmlab.json"

HUB = "hf://{alias}/model.safetensors"
"""timm's repositories on the Hub are called as its aliases here."""

AUTHORS = Source(
    ("https://s3.amazonaws.com/resnext/imagenet_models/{file}",),
    NONCOMMERCIAL,
    "https://github.com/facebookresearch/ResNeXt",
)
TORCHVISION = Source((TORCH,), BSD, f"{TORCH_PAGES}/resnext.html")
WIDE = replace(TORCHVISION, reference=f"{TORCH_PAGES}/wide_resnet.html")
WSL = Source((TORCH,), NONCOMMERCIAL, "https://github.com/facebookresearch/WSL-Images")
SEMI = Source(
    (f"{FB}/semiweaksupervision/model_files/{{file}}",),
    NONCOMMERCIAL,
    "https://github.com/facebookresearch/semi-supervised-ImageNet1K-models",
)
TIMM = Source((TIMM_FILES, HUB), APACHE, TIMM_RESULTS)
TIMM_HUB = replace(TIMM, addresses=(HUB,))
TIMM_HUB_12K = replace(TIMM_HUB, classes=11_821)
TIMM_LEGACY = replace(TIMM, addresses=(TIMM_FILES,))
GLUON = replace(TIMM, addresses=(GLUON_FILES, HUB))
GLASSES = Source(
    ("hf://glasses/{variant}/{file}",),
    NOT_STATED,
    "https://github.com/FrancescoSaverioZuppichini/glasses",
)
THIRD_PARTY = tuple(f"{base}/pretrain/third_party/{{file}}" for base in MM_FILES)
OPENMMLAB = Source(THIRD_PARTY, NOT_STATED, MMENGINE)
OPENMMLAB_BGR = Source(THIRD_PARTY, NOT_STATED, MMENGINE, BGR)
JHU = Source(THIRD_PARTY, NOT_STATED, MMENGINE, norms=GN)
JHU_WS = Source(THIRD_PARTY, NOT_STATED, MMENGINE, norms=GN, standardised=True)
MMPRETRAIN = Source(
    tuple(f"{base}/mmclassification/v0/resnext/{{file}}" for base in MM_FILES),
    APACHE,
    "https://github.com/open-mmlab/mmpretrain/tree/main/configs/resnext",
)
DETECTRON2 = Source(
    (f"{FB}/detectron2/ImageNetPretrained/{{file}}",),
    SHARE_ALIKE,
    "https://github.com/facebookresearch/detectron2/blob/main/MODEL_ZOO.md",
    BGR,
)
CAFFE2 = Source(
    (f"{FB}/detectron/ImageNetPretrained/{{file}}",),
    SHARE_ALIKE,
    "https://github.com/facebookresearch/Detectron/blob/main/MODEL_ZOO.md",
    BGR_UNSCALED,
    FUSED,
)
CAFFE2_5K = replace(CAFFE2, classes=5_000)
