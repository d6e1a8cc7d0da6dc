"""One table says where published weights are, and what they expect.

All of them stride in the 3x3 convolution of a block.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from resnext_backbones.weights.errors import WeightsError
from resnext_backbones.weights.preprocessing import BGR, BGR_UNSCALED, RGB, Preprocessing

if TYPE_CHECKING:
    from resnext_backbones.models.architecture import Architecture

TRAINED, FUSED, GN = "trained", "fused", "GN"


@dataclass(frozen=True)
class Source:
    """Says where a group of checkpoints comes from, and what they have in common.

    Attributes:
        bases: what their addresses begin with; the second one is a mirror.
        licence: of the weights.
        reference: where they are published, with their accuracies.
        preprocessing: the pixels that they expect.
        norms: `TRAINED`; `FUSED`, which only scale and shift, and must stay in eval mode; or `GN`.
        standardised: whether the weights of the convolutions are standardised at each step (Qiao
            et al., 2019), as mmcv's ConvWS does; in a plain convolution they are worth nothing.
        resize: pixels of an image's shorter side, whose middle (`CROP`) the accuracies are of:
            torchvision's `Weights.transforms()`, timm's `pretrained_cfg` (224 are 0.95 of 235),
            and transforms.lua of fb.resnet.torch.
        interpolation: by which it came to that.
    """

    bases: tuple[str, ...]
    licence: str
    reference: str
    preprocessing: Preprocessing = RGB
    norms: str = TRAINED
    standardised: bool = False
    resize: int = 256
    interpolation: str = "bilinear"


CROP = 224

BSD, APACHE = "BSD-3-Clause", "Apache-2.0"
NONCOMMERCIAL, SHARE_ALIKE, NOT_STATED = "CC BY-NC 4.0", "CC BY-SA 3.0", "not stated"

FB = "https://dl.fbaipublicfiles.com"
TORCH = "https://download.pytorch.org/models"
TIMM_FILES = "https://github.com/huggingface/pytorch-image-models/releases/download"
GLUON_FILES = "https://github.com/rwightman/pytorch-pretrained-gluonresnet/releases/download"
MM_FILES = ("https://download.openmmlab.com", "https://mmassets.onedl.ai")
TIMM_RESULTS = "https://github.com/huggingface/pytorch-image-models/blob/main/results"
MMENGINE = "https://github.com/open-mmlab/mmengine/blob/main/mmengine/hub/openmmlab.json"

AUTHORS = Source(
    ("https://s3.amazonaws.com/resnext/imagenet_models",),
    NONCOMMERCIAL,
    "https://github.com/facebookresearch/ResNeXt",
    interpolation="bicubic",
)
TORCHVISION = Source((TORCH,), BSD, "https://docs.pytorch.org/vision/stable/models/resnext.html")
TORCHVISION_232 = replace(TORCHVISION, resize=232)
WSL = Source((TORCH,), NONCOMMERCIAL, "https://github.com/facebookresearch/WSL-Images")
SEMI = Source(
    (f"{FB}/semiweaksupervision/model_files",),
    NONCOMMERCIAL,
    "https://github.com/facebookresearch/semi-supervised-ImageNet1K-models",
)
TIMM = Source(
    (TIMM_FILES,), APACHE, f"{TIMM_RESULTS}/results-imagenet.csv", interpolation="bicubic"
)
TIMM_235 = replace(TIMM, resize=235)
GLUON = replace(TIMM, bases=(GLUON_FILES,))
THIRD_PARTY = tuple(f"{base}/pretrain/third_party" for base in MM_FILES)
OPENMMLAB = Source(THIRD_PARTY, NOT_STATED, MMENGINE)
OPENMMLAB_BGR = Source(THIRD_PARTY, NOT_STATED, MMENGINE, BGR)
JHU = Source(THIRD_PARTY, NOT_STATED, MMENGINE, norms=GN)
JHU_WS = Source(THIRD_PARTY, NOT_STATED, MMENGINE, norms=GN, standardised=True)
MMPRETRAIN = Source(
    tuple(f"{base}/mmclassification/v0/resnext" for base in MM_FILES),
    APACHE,
    "https://github.com/open-mmlab/mmpretrain/tree/main/configs/resnext",
)
DETECTRON2 = Source(
    (f"{FB}/detectron2/ImageNetPretrained",),
    SHARE_ALIKE,
    "https://github.com/facebookresearch/detectron2/blob/main/MODEL_ZOO.md",
    BGR,
)
CAFFE2 = Source(
    (f"{FB}/detectron/ImageNetPretrained",),
    SHARE_ALIKE,
    "https://github.com/facebookresearch/Detectron/blob/main/MODEL_ZOO.md",
    BGR_UNSCALED,
    FUSED,
)

# The fields of `Published`.
# fmt: off
ROWS: tuple[tuple[str, str, Source, str, float | None], ...] = (
    ("torchvision/resnext50_32x4d.v1", "resnext50_32x4d", TORCHVISION, "resnext50_32x4d-7cdf4587.pth", 77.618),
    ("torchvision/resnext50_32x4d.v2", "resnext50_32x4d", TORCHVISION_232, "resnext50_32x4d-1a0047aa.pth", 81.198),
    ("torchvision/resnext101_32x8d.v1", "resnext101_32x8d", TORCHVISION, "resnext101_32x8d-8ba56ff5.pth", 79.312),
    ("torchvision/resnext101_32x8d.v2", "resnext101_32x8d", TORCHVISION_232, "resnext101_32x8d-110c445d.pth", 82.834),
    ("torchvision/resnext101_64x4d.v1", "resnext101_64x4d", TORCHVISION_232, "resnext101_64x4d-173b62eb.pth", 83.246),
    ("fair/resnext50_32x4d.torch7", "resnext50_32x4d", AUTHORS, "resnext_50_32x4d.t7", 77.8),
    ("fair/resnext101_32x4d.torch7", "resnext101_32x4d", AUTHORS, "resnext_101_32x4d.t7", 78.8),
    ("fair/resnext101_64x4d.torch7", "resnext101_64x4d", AUTHORS, "resnext_101_64x4d.t7", 79.6),
    ("fair/resnext101_32x8d.wsl", "resnext101_32x8d", WSL, "ig_resnext101_32x8-c38310e5.pth", 82.2),
    ("fair/resnext101_32x16d.wsl", "resnext101_32x16d", WSL, "ig_resnext101_32x16-c6f796b0.pth", 84.2),
    ("fair/resnext101_32x32d.wsl", "resnext101_32x32d", WSL, "ig_resnext101_32x32-e4b90b00.pth", 85.1),
    ("fair/resnext101_32x48d.wsl", "resnext101_32x48d", WSL, "ig_resnext101_32x48-3e41cc8a.pth", 85.4),
    ("fair/resnext50_32x4d.ssl", "resnext50_32x4d", SEMI, "semi_supervised_resnext50_32x4-ddb3e555.pth", 80.3),
    ("fair/resnext101_32x4d.ssl", "resnext101_32x4d", SEMI, "semi_supervised_resnext101_32x4-dc43570a.pth", 81.0),
    ("fair/resnext101_32x8d.ssl", "resnext101_32x8d", SEMI, "semi_supervised_resnext101_32x8-2cfe2f8b.pth", 81.7),
    ("fair/resnext101_32x16d.ssl", "resnext101_32x16d", SEMI, "semi_supervised_resnext101_32x16-15fffa57.pth", 81.9),
    ("fair/resnext50_32x4d.swsl", "resnext50_32x4d", SEMI, "semi_weakly_supervised_resnext50_32x4-72679e44.pth", 82.2),
    ("fair/resnext101_32x4d.swsl", "resnext101_32x4d", SEMI, "semi_weakly_supervised_resnext101_32x4-3f87e46b.pth", 83.4),
    ("fair/resnext101_32x8d.swsl", "resnext101_32x8d", SEMI, "semi_weakly_supervised_resnext101_32x8-b4712904.pth", 84.3),
    ("fair/resnext101_32x16d.swsl", "resnext101_32x16d", SEMI, "semi_weakly_supervised_resnext101_32x16-f3559a9c.pth", 84.8),
    ("timm/resnext50_32x4d.a1_in1k", "resnext50_32x4d", TIMM_235, "v0.1-rsb-weights/resnext50_32x4d_a1_0-b5a91a1d.pth", 80.526),
    ("timm/resnext50_32x4d.a1h_in1k", "resnext50_32x4d", TIMM_235, "v0.1-rsb-weights/resnext50_32x4d_a1h-0146ab0a.pth", 81.140),
    ("timm/resnext50_32x4d.a2_in1k", "resnext50_32x4d", TIMM_235, "v0.1-rsb-weights/resnext50_32x4d_a2_0-efc76add.pth", 80.444),
    ("timm/resnext50_32x4d.a3_in1k", "resnext50_32x4d", TIMM_235, "v0.1-rsb-weights/resnext50_32x4d_a3_0-3e450271.pth", 79.258),
    ("timm/resnext50_32x4d.ra_in1k", "resnext50_32x4d", TIMM, "v0.1-weights/resnext50_32x4d_ra-d733960d.pth", 79.800),
    ("timm/resnext50d_32x4d.bt_in1k", "resnext50d_32x4d", TIMM, "v0.1-weights/resnext50d_32x4d-103e99f8.pth", 79.672),
    ("timm/resnext101_64x4d.c1_in1k", "resnext101_64x4d", TIMM_235, "v0.1-tpu-weights/resnext101_64x4d_c-0d0e0cc0.pth", 82.446),
    ("timm/resnext50_32x4d.gluon_in1k", "resnext50_32x4d", GLUON, "v0.1/gluon_resnext50_32x4d-e6a097c1.pth", 79.354),
    ("timm/resnext101_32x4d.gluon_in1k", "resnext101_32x4d", GLUON, "v0.1/gluon_resnext101_32x4d-b253c8c4.pth", 80.336),
    ("timm/resnext101_64x4d.gluon_in1k", "resnext101_64x4d", GLUON, "v0.1/gluon_resnext101_64x4d-f9a8e184.pth", 80.640),
    ("open-mmlab/resnext50_32x4d", "resnext50_32x4d", OPENMMLAB, "resnext50-32x4d-0ab1a123.pth", None),
    ("open-mmlab/resnext101_32x4d", "resnext101_32x4d", OPENMMLAB, "resnext101_32x4d-a5af3160.pth", None),
    ("open-mmlab/resnext101_64x4d", "resnext101_64x4d", OPENMMLAB, "resnext101_64x4d-ee2c6f71.pth", None),
    ("open-mmlab/detectron2/resnext101_32x8d", "resnext101_32x8d", OPENMMLAB_BGR, "resnext101_32x8d-1516f1aa.pth", None),
    ("open-mmlab/jhu/resnext50_32x4d_gn", "resnext50_32x4d", JHU, "resnext50_32x4d_gn-c7e8b754.pth", None),
    ("open-mmlab/jhu/resnext101_32x4d_gn", "resnext101_32x4d", JHU, "resnext101_32x4d_gn-ac3bb84e.pth", None),
    ("open-mmlab/jhu/resnext50_32x4d_gn_ws", "resnext50_32x4d", JHU_WS, "resnext50_32x4d_gn_ws-0d87ac85.pth", None),
    ("open-mmlab/jhu/resnext101_32x4d_gn_ws", "resnext101_32x4d", JHU_WS, "resnext101_32x4d_gn_ws-34ac1a9e.pth", None),
    ("mmpretrain/resnext50_32x4d", "resnext50_32x4d", MMPRETRAIN, "resnext50_32x4d_b32x8_imagenet_20210429-56066e27.pth", 77.90),
    ("mmpretrain/resnext101_32x4d", "resnext101_32x4d", MMPRETRAIN, "resnext101_32x4d_b32x8_imagenet_20210506-e0fa3dd5.pth", 78.61),
    ("mmpretrain/resnext101_32x8d", "resnext101_32x8d", MMPRETRAIN, "resnext101_32x8d_b32x8_imagenet_20210506-23a247d5.pth", 79.27),
    ("mmpretrain/resnext152_32x4d", "resnext152_32x4d", MMPRETRAIN, "resnext152_32x4d_b32x8_imagenet_20210524-927787be.pth", 78.88),
    ("detectron2/X-101-32x8d", "resnext101_32x8d", DETECTRON2, "FAIR/X-101-32x8d.pkl", None),
    ("caffe2/X-101-32x8d", "resnext101_32x8d", CAFFE2, "20171220/X-101-32x8d.pkl", None),
    ("caffe2/X-101-64x4d", "resnext101_64x4d", CAFFE2, "FBResNeXt/X-101-64x4d.pkl", None),
    ("caffe2/X-152-32x8d-IN5k", "resnext152_32x8d", CAFFE2, "25093814/X-152-32x8d-IN5k.pkl", None),
)
# fmt: on


@dataclass(frozen=True)
class Published:
    """Holds a row of the table.

    Attributes:
        alias: its name here, FAMILY/NAME.
        variant: of `list_variants()`.
        file: its name, behind the source's bases.
        top1: accuracy on ImageNet-1k in percent, one crop of `CROP` pixels, if the source says it.
    """

    alias: str
    variant: str
    source: Source
    file: str
    top1: float | None

    @property
    def architecture(self) -> Architecture:
        """Returns the network that the weights presuppose."""
        from resnext_backbones.variants import VARIANTS  # with PyTorch, which `list` does without

        kind = "group" if self.source.norms == GN else "batch"
        return replace(VARIANTS[self.variant], norm_kind=kind)

    @property
    def urls(self) -> tuple[str, ...]:
        """Returns the file's addresses, in the order in which to try."""
        return tuple(f"{base}/{self.file}" for base in self.source.bases)

    @property
    def sha256(self) -> str:
        """Returns the beginning of the file's hash, as its name has it."""
        return hash_in_name(self.file)


def hash_in_name(name: str) -> str:
    """Returns the hash at the end of a file's name, as in `name-1a2b3c4d.pth`; "" if none is."""
    found = re.search(r"-([0-9a-f]{8,64})\.\w+$", name)
    return found[1] if found else ""


TIMM_TAGS = {
    "tv_in1k": "torchvision/{}.v1",
    "tv2_in1k": "torchvision/{}.v2",
    "fb_wsl_ig1b_ft_in1k": "fair/{}.wsl",
    "fb_ssl_yfcc100m_ft_in1k": "fair/{}.ssl",
    "fb_swsl_ig1b_ft_in1k": "fair/{}.swsl",
}
"""timm has names of its own for weights of others."""

REGISTRY = {row[0]: Published(*row) for row in ROWS}
"""This finds a row by each of its aliases."""

REGISTRY |= {
    f"timm/{row.variant}.{tag}": row
    for tag, alias in TIMM_TAGS.items()
    for row in REGISTRY.values()
    if row.alias == alias.format(row.variant)
}


def row_named(alias: str) -> Published:
    """Returns the row of an alias; raises WeightsError, which names close ones, where none is."""
    if alias not in REGISTRY:
        close = difflib.get_close_matches(alias, REGISTRY, n=5, cutoff=0.3) or list(REGISTRY)[:5]
        raise WeightsError(
            f"weights {alias}: no such file and no such alias; try {', '.join(close)}"
        )
    return REGISTRY[alias]
