"""One table says where published weights are, and what they expect.

All of them stride in the 3x3 convolution of a block.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from resnext_backbones.weights.errors import WeightsError
from resnext_backbones.weights.publishers import (
    AUTHORS,
    CAFFE2,
    CAFFE2_5K,
    DETECTRON2,
    GLASSES,
    GLUON,
    GN,
    JHU,
    JHU_WS,
    MMPRETRAIN,
    OPENMMLAB,
    OPENMMLAB_BGR,
    SEMI,
    TIMM,
    TIMM_HUB,
    TIMM_HUB_12K,
    TIMM_LEGACY,
    TORCHVISION,
    WIDE,
    WSL,
    Crop,
    Source,
)
from resnext_backbones.weights.regnet_rows import REGNET_ROWS

if TYPE_CHECKING:
    from resnext_backbones.models.architecture import Architecture

PLAIN, BY_232 = Crop(), Crop(resize=232)
CUBIC, CUBIC_235 = Crop(interpolation="bicubic"), Crop(224, 235, "bicubic")
CUBIC_256, CUBIC_288 = Crop(256, 284, "bicubic"), Crop(288, 303, "bicubic")
CUBIC_269, CUBIC_384 = Crop(256, 269, "bicubic"), Crop(384, 384, "bicubic")
LINEAR_256 = Crop(256, 288)
"""From torchvision's `Weights.transforms()`, timm's `pretrained_cfg` (whose `crop_pct` is size /
resize) and transforms.lua of fb.resnet.torch."""

# The fields of `Published`.
# fmt: off
ROWS: tuple[tuple[str, str, Source, str, float | None, Crop | None], ...] = (
    ("torchvision/resnext50_32x4d.v1", "resnext50_32x4d", TORCHVISION, "resnext50_32x4d-7cdf4587.pth", 77.618, PLAIN),
    ("torchvision/resnext50_32x4d.v2", "resnext50_32x4d", TORCHVISION, "resnext50_32x4d-1a0047aa.pth", 81.198, BY_232),
    ("torchvision/resnext101_32x8d.v1", "resnext101_32x8d", TORCHVISION, "resnext101_32x8d-8ba56ff5.pth", 79.312, PLAIN),
    ("torchvision/resnext101_32x8d.v2", "resnext101_32x8d", TORCHVISION, "resnext101_32x8d-110c445d.pth", 82.834, BY_232),
    ("torchvision/resnext101_64x4d.v1", "resnext101_64x4d", TORCHVISION, "resnext101_64x4d-173b62eb.pth", 83.246, BY_232),
    ("torchvision/wide_resnet50_2.v1", "wide_resnet50_2", WIDE, "wide_resnet50_2-95faca4d.pth", 78.468, PLAIN),
    ("torchvision/wide_resnet50_2.v2", "wide_resnet50_2", WIDE, "wide_resnet50_2-9ba9bcbe.pth", 81.602, BY_232),
    ("torchvision/wide_resnet101_2.v1", "wide_resnet101_2", WIDE, "wide_resnet101_2-32ee1156.pth", 78.848, PLAIN),
    ("torchvision/wide_resnet101_2.v2", "wide_resnet101_2", WIDE, "wide_resnet101_2-d733dc28.pth", 82.510, BY_232),
    ("fair/resnext50_32x4d.torch7", "resnext50_32x4d", AUTHORS, "resnext_50_32x4d.t7", 77.8, CUBIC),
    ("fair/resnext101_32x4d.torch7", "resnext101_32x4d", AUTHORS, "resnext_101_32x4d.t7", 78.8, CUBIC),
    ("fair/resnext101_64x4d.torch7", "resnext101_64x4d", AUTHORS, "resnext_101_64x4d.t7", 79.6, CUBIC),
    ("fair/resnext101_32x8d.wsl", "resnext101_32x8d", WSL, "ig_resnext101_32x8-c38310e5.pth", 82.2, PLAIN),
    ("fair/resnext101_32x16d.wsl", "resnext101_32x16d", WSL, "ig_resnext101_32x16-c6f796b0.pth", 84.2, PLAIN),
    ("fair/resnext101_32x32d.wsl", "resnext101_32x32d", WSL, "ig_resnext101_32x32-e4b90b00.pth", 85.1, PLAIN),
    ("fair/resnext101_32x48d.wsl", "resnext101_32x48d", WSL, "ig_resnext101_32x48-3e41cc8a.pth", 85.4, PLAIN),
    ("fair/resnext50_32x4d.ssl", "resnext50_32x4d", SEMI, "semi_supervised_resnext50_32x4-ddb3e555.pth", 80.3, PLAIN),
    ("fair/resnext101_32x4d.ssl", "resnext101_32x4d", SEMI, "semi_supervised_resnext101_32x4-dc43570a.pth", 81.0, PLAIN),
    ("fair/resnext101_32x8d.ssl", "resnext101_32x8d", SEMI, "semi_supervised_resnext101_32x8-2cfe2f8b.pth", 81.7, PLAIN),
    ("fair/resnext101_32x16d.ssl", "resnext101_32x16d", SEMI, "semi_supervised_resnext101_32x16-15fffa57.pth", 81.9, PLAIN),
    ("fair/resnext50_32x4d.swsl", "resnext50_32x4d", SEMI, "semi_weakly_supervised_resnext50_32x4-72679e44.pth", 82.2, PLAIN),
    ("fair/resnext101_32x4d.swsl", "resnext101_32x4d", SEMI, "semi_weakly_supervised_resnext101_32x4-3f87e46b.pth", 83.4, PLAIN),
    ("fair/resnext101_32x8d.swsl", "resnext101_32x8d", SEMI, "semi_weakly_supervised_resnext101_32x8-b4712904.pth", 84.3, PLAIN),
    ("fair/resnext101_32x16d.swsl", "resnext101_32x16d", SEMI, "semi_weakly_supervised_resnext101_32x16-f3559a9c.pth", 84.8, PLAIN),
    ("timm/resnext50_32x4d.a1_in1k", "resnext50_32x4d", TIMM, "v0.1-rsb-weights/resnext50_32x4d_a1_0-b5a91a1d.pth", 80.526, CUBIC_235),
    ("timm/resnext50_32x4d.a1h_in1k", "resnext50_32x4d", TIMM, "v0.1-rsb-weights/resnext50_32x4d_a1h-0146ab0a.pth", 81.140, CUBIC_235),
    ("timm/resnext50_32x4d.a2_in1k", "resnext50_32x4d", TIMM, "v0.1-rsb-weights/resnext50_32x4d_a2_0-efc76add.pth", 80.444, CUBIC_235),
    ("timm/resnext50_32x4d.a3_in1k", "resnext50_32x4d", TIMM, "v0.1-rsb-weights/resnext50_32x4d_a3_0-3e450271.pth", 79.258, CUBIC_235),
    ("timm/resnext50_32x4d.ra_in1k", "resnext50_32x4d", TIMM, "v0.1-weights/resnext50_32x4d_ra-d733960d.pth", 79.800, CUBIC),
    ("timm/resnext50d_32x4d.bt_in1k", "resnext50d_32x4d", TIMM, "v0.1-weights/resnext50d_32x4d-103e99f8.pth", 79.672, CUBIC),
    ("timm/resnext101_64x4d.c1_in1k", "resnext101_64x4d", TIMM, "v0.1-tpu-weights/resnext101_64x4d_c-0d0e0cc0.pth", 82.446, CUBIC_235),
    ("timm/resnext50_32x4d.gluon_in1k", "resnext50_32x4d", GLUON, "v0.1/gluon_resnext50_32x4d-e6a097c1.pth", 79.354, CUBIC),
    ("timm/resnext101_32x4d.gluon_in1k", "resnext101_32x4d", GLUON, "v0.1/gluon_resnext101_32x4d-b253c8c4.pth", 80.336, CUBIC),
    ("timm/resnext101_64x4d.gluon_in1k", "resnext101_64x4d", GLUON, "v0.1/gluon_resnext101_64x4d-f9a8e184.pth", 80.640, CUBIC),
    ("timm/wide_resnet50_2.racm_in1k", "wide_resnet50_2", TIMM, "v0.1-weights/wide_resnet50_racm-8234f177.pth", 81.466, CUBIC),
    ("timm/resnext26ts.ra2_in1k", "resnext26ts", TIMM, "v0.1-attn-weights/resnext26ts_256_ra2-8bbd9106.pth", 76.768, CUBIC_256),
    ("timm/seresnext26ts.ch_in1k", "seresnext26ts", TIMM, "v0.1-attn-weights/seresnext26ts_256-6f0d74a3.pth", 77.860, CUBIC_256),
    ("timm/eca_resnext26ts.ch_in1k", "eca_resnext26ts", TIMM, "v0.1-attn-weights/eca_resnext26ts_256-5a1d030f.pth", 77.446, CUBIC_256),
    ("timm/gcresnext26ts.ch_in1k", "gcresnext26ts", TIMM, "v0.1-attn-weights/gcresnext26ts_256-e414378b.pth", 77.810, CUBIC_256),
    ("timm/gcresnext50ts.ch_in1k", "gcresnext50ts", TIMM, "v0.1-attn-weights/gcresnext50ts_256-3e0f515e.pth", 80.608, CUBIC_256),
    ("timm/bat_resnext26ts.ch_in1k", "bat_resnext26ts", TIMM, "v0.1-attn-weights/bat_resnext26ts_256-fa6fd595.pth", 78.280, CUBIC_256),
    ("timm/seresnext26d_32x4d.bt_in1k", "seresnext26d_32x4d", TIMM, "v0.1-weights/seresnext26d_32x4d-80fa48a3.pth", 77.592, CUBIC),
    ("timm/seresnext26t_32x4d.bt_in1k", "seresnext26t_32x4d", TIMM, "v0.1-weights/seresnext26tn_32x4d-569cb627.pth", 77.980, CUBIC),
    ("timm/seresnext50_32x4d.racm_in1k", "seresnext50_32x4d", TIMM, "v0.1-weights/seresnext50_32x4d_racm-a304a460.pth", 81.268, CUBIC),
    ("timm/seresnext50_32x4d.gluon_in1k", "seresnext50_32x4d", GLUON, "v0.1/gluon_seresnext50_32x4d-90cf2d6e.pth", 79.916, CUBIC),
    ("timm/seresnext101_32x4d.gluon_in1k", "seresnext101_32x4d", GLUON, "v0.1/gluon_seresnext101_32x4d-cf52900d.pth", 80.886, CUBIC),
    ("timm/seresnext101_64x4d.gluon_in1k", "seresnext101_64x4d", GLUON, "v0.1/gluon_seresnext101_64x4d-f9926f93.pth", 80.884, CUBIC),
    ("timm/seresnext101_32x8d.ah_in1k", "seresnext101_32x8d", TIMM, "v0.1-tpu-weights/seresnext101_32x8d_ah-e6bc4c0a.pth", 83.618, CUBIC_235),
    ("timm/seresnext101d_32x8d.ah_in1k", "seresnext101d_32x8d", TIMM, "v0.1-tpu-weights/seresnext101d_32x8d_ah-191d7b94.pth", 83.702, CUBIC_235),
    ("timm/seresnextaa101d_32x8d.ah_in1k", "seresnextaa101d_32x8d", TIMM, "v0.1-tpu-weights/seresnextaa101d_32x8d_ah-83c8ae12.pth", 83.900, CUBIC_235),
    ("timm/seresnextaa101d_32x8d.sw_in12k_ft_in1k", "seresnextaa101d_32x8d", TIMM_HUB, "model.safetensors", 85.956, CUBIC),
    ("timm/seresnextaa101d_32x8d.sw_in12k_ft_in1k_288", "seresnextaa101d_32x8d", TIMM_HUB, "model.safetensors", 86.530, CUBIC_288),
    ("timm/seresnextaa101d_32x8d.sw_in12k", "seresnextaa101d_32x8d", TIMM_HUB_12K, "model.safetensors", None, None),
    ("timm/seresnextaa201d_32x8d.sw_in12k_ft_in1k_384", "seresnextaa201d_32x8d", TIMM_HUB, "model.safetensors", 87.304, CUBIC_384),
    ("timm/seresnextaa201d_32x8d.sw_in12k", "seresnextaa201d_32x8d", TIMM_HUB_12K, "model.safetensors", None, None),
    ("timm/legacy_seresnext26_32x4d.in1k", "legacy_seresnext26_32x4d", TIMM_LEGACY, "v0.1-weights/seresnext26_32x4d-65ebdb501.pth", 77.100, CUBIC),
    ("timm/legacy_seresnext50_32x4d.in1k", "legacy_seresnext50_32x4d", TIMM_LEGACY, "v0.1-weights/legacy_se_resnext50_32x4d-f3651bad.pth", 79.080, PLAIN),
    ("timm/legacy_seresnext101_32x4d.in1k", "legacy_seresnext101_32x4d", TIMM_LEGACY, "v0.1-weights/legacy_se_resnext101_32x4d-37725eac.pth", 80.274, PLAIN),
    ("timm/skresnext50_32x4d.ra_in1k", "skresnext50_32x4d", TIMM_HUB, "model.safetensors", 80.168, CUBIC),
    ("timm/cspresnext50.ra_in1k", "cspresnext50", TIMM, "v0.1-weights/cspresnext50_ra_224-648b4713.pth", 80.548, LINEAR_256),
    ("timm/eca_botnext26ts_256.c1_in1k", "eca_botnext26ts_256", TIMM, "v0.1-attn-weights/eca_botnext26ts_c_256-95a898f6.pth", 79.262, CUBIC_269),
    ("glasses/resnext50_32x4d", "resnext50_32x4d", GLASSES, "pytorch_model.bin", 77.628, PLAIN),
    ("glasses/resnext101_32x8d", "resnext101_32x8d", GLASSES, "pytorch_model.bin", 79.21, PLAIN),
    ("open-mmlab/resnext50_32x4d", "resnext50_32x4d", OPENMMLAB, "resnext50-32x4d-0ab1a123.pth", None, None),
    ("open-mmlab/resnext101_32x4d", "resnext101_32x4d", OPENMMLAB, "resnext101_32x4d-a5af3160.pth", None, None),
    ("open-mmlab/resnext101_64x4d", "resnext101_64x4d", OPENMMLAB, "resnext101_64x4d-ee2c6f71.pth", None, None),
    ("open-mmlab/detectron2/resnext101_32x8d", "resnext101_32x8d", OPENMMLAB_BGR, "resnext101_32x8d-1516f1aa.pth", None, None),
    ("open-mmlab/jhu/resnext50_32x4d_gn", "resnext50_32x4d", JHU, "resnext50_32x4d_gn-c7e8b754.pth", None, None),
    ("open-mmlab/jhu/resnext101_32x4d_gn", "resnext101_32x4d", JHU, "resnext101_32x4d_gn-ac3bb84e.pth", None, None),
    ("open-mmlab/jhu/resnext50_32x4d_gn_ws", "resnext50_32x4d", JHU_WS, "resnext50_32x4d_gn_ws-0d87ac85.pth", None, None),
    ("open-mmlab/jhu/resnext101_32x4d_gn_ws", "resnext101_32x4d", JHU_WS, "resnext101_32x4d_gn_ws-34ac1a9e.pth", None, None),
    ("mmpretrain/resnext50_32x4d", "resnext50_32x4d", MMPRETRAIN, "resnext50_32x4d_b32x8_imagenet_20210429-56066e27.pth", 77.90, PLAIN),
    ("mmpretrain/resnext101_32x4d", "resnext101_32x4d", MMPRETRAIN, "resnext101_32x4d_b32x8_imagenet_20210506-e0fa3dd5.pth", 78.61, PLAIN),
    ("mmpretrain/resnext101_32x8d", "resnext101_32x8d", MMPRETRAIN, "resnext101_32x8d_b32x8_imagenet_20210506-23a247d5.pth", 79.27, PLAIN),
    ("mmpretrain/resnext152_32x4d", "resnext152_32x4d", MMPRETRAIN, "resnext152_32x4d_b32x8_imagenet_20210524-927787be.pth", 78.88, PLAIN),
    ("detectron2/X-101-32x8d", "resnext101_32x8d", DETECTRON2, "FAIR/X-101-32x8d.pkl", None, None),
    ("caffe2/X-101-32x8d", "resnext101_32x8d", CAFFE2, "20171220/X-101-32x8d.pkl", None, None),
    ("caffe2/X-101-64x4d", "resnext101_64x4d", CAFFE2, "FBResNeXt/X-101-64x4d.pkl", None, None),
    ("caffe2/X-152-32x8d-IN5k", "resnext152_32x8d", CAFFE2_5K, "25093814/X-152-32x8d-IN5k.pkl", None, None),
    *REGNET_ROWS,
)
# fmt: on


@dataclass(frozen=True)
class Published:
    """Holds a row of the table.

    Attributes:
        alias: its name here, FAMILY/NAME.
        variant: of `list_variants()`.
        file: as the addresses of the source have it.
        top1: accuracy on ImageNet-1k in percent, if the source says it.
        crop: what this accuracy is of.
    """

    alias: str
    variant: str
    source: Source
    file: str
    top1: float | None
    crop: Crop | None

    @property
    def architecture(self) -> Architecture:
        """Returns the network that the weights presuppose."""
        from resnext_backbones.variants import VARIANTS  # with PyTorch, which `list` does without

        kind = "group" if self.source.norms == GN else "batch"
        convolution = "standardised" if self.source.standardised else "plain"
        return replace(VARIANTS[self.variant], norm_kind=kind, convolution=convolution)

    @property
    def accuracy(self) -> str:
        """Returns the top-1 accuracy and the pixels that it is of, or other classes instead."""
        if self.top1 is not None and self.crop is not None:
            return f"{self.top1:.1f} at {self.crop.size}"
        return "" if self.source.classes == 1000 else f"{self.source.classes:,} classes"

    @property
    def urls(self) -> tuple[str, ...]:
        """Returns the file's addresses, in the order in which to try."""
        fields = {"alias": self.alias, "variant": self.variant, "file": self.file}
        return tuple(address.format(**fields) for address in self.source.addresses)

    @property
    def sha256(self) -> str:
        """Returns the beginning of the file's hash, as its name has it."""
        return hash_in_name(self.file)


def hash_in_name(name: str) -> str:
    """Returns the hash at the end of a file's name, as in `name-1a2b3c4d.pth`; "" if none is."""
    found = re.search(r"-([0-9a-f]{8,64})\.\w+$", name)
    return found[1] if found else ""


TIMM_TAGS = {
    "tv_in1k": "torchvision/*resne*.v1",
    "tv2_in1k": "torchvision/*.v2",
    "swag_ft_in1k": "torchvision/*.swag_e2e",
    "swag_lc_in1k": "torchvision/*.swag_linear",
    "fb_wsl_ig1b_ft_in1k": "fair/*.wsl",
    "fb_ssl_yfcc100m_ft_in1k": "fair/*.ssl",
    "fb_swsl_ig1b_ft_in1k": "fair/*.swsl",
}
"""timm has names of its own for weights of others."""

REGISTRY = {row[0]: Published(*row) for row in ROWS}
"""This finds a row by each of its aliases."""

REGISTRY |= {
    f"timm/{row.variant}.{tag}": row
    for tag, aliases in TIMM_TAGS.items()
    for row in REGISTRY.values()
    if fnmatchcase(row.alias, aliases)
}


def row_named(alias: str) -> Published:
    """Returns the row of an alias; raises WeightsError, which names close ones, where none is."""
    if alias not in REGISTRY:
        close = difflib.get_close_matches(alias, REGISTRY, n=5, cutoff=0.3) or list(REGISTRY)[:5]
        raise WeightsError(
            f"weights {alias}: no such file and no such alias; try {', '.join(close)}"
        )
    return REGISTRY[alias]
