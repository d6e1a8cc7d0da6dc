"""The detectors' backbones, each with its published weights and the pixels that these expect.

A config takes one out, `model = _base_.pop("networks").x101_32x4d`; none stays as a setting.
"""

_base_ = []  # without it MMEngine takes a file that imports for another kind of config

from resnext_backbones.tasks.mmdetection.config import pretrained

networks = dict(
    x50_32x4d=pretrained("open-mmlab/resnext50_32x4d"),
    x50_32x4d_v2=pretrained("torchvision/resnext50_32x4d.v2"),
    x101_32x4d=pretrained("open-mmlab/resnext101_32x4d"),
    x101_64x4d=pretrained("open-mmlab/resnext101_64x4d"),
    # The norms' scale and shift are not trained, as in MMDetection's own config.
    x101_32x8d=pretrained(
        "open-mmlab/detectron2/resnext101_32x8d",
        norm_cfg=dict(type="BN", requires_grad=False),
    ),
    seresnextaa101d_32x8d=pretrained("timm/seresnextaa101d_32x8d.sw_in12k_ft_in1k_288"),
    gcresnext50ts=pretrained("timm/gcresnext50ts.ch_in1k"),
    regnetx_032=dict(
        neck=dict(in_channels=[96, 192, 432, 1008]),
        **pretrained("open-mmlab/regnetx_3.2gf"),
    ),
)
