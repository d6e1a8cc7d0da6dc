"""Cascade Mask R-CNN with FPN on a ResNeXt; a config sets its variant."""

_base_ = "mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="resnext_backbones.ResNeXt",
        frozen_stages=1,
        norm_eval=True,
    )
)
