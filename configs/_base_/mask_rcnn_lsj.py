"""Mask R-CNN whose norms are all trained, over all GPUs, with two convolutions in the RPN's head
and four in that of boxes, as in MMDetection's strong_baselines and Detectron2's new_baselines; for
training images of 1024 x 1024.
"""

_base_ = "mmdet::_base_/models/mask-rcnn_r50_fpn.py"

padding = [dict(type="BatchFixedSizePad", size=(1024, 1024), pad_mask=True)]
norm_cfg = dict(type="SyncBN", requires_grad=True)
trained = dict(frozen_stages=-1, norm_eval=False, norm_cfg=norm_cfg)  # of the config's backbone
model = dict(
    data_preprocessor=dict(batch_augments=padding),
    neck=dict(norm_cfg=norm_cfg),
    rpn_head=dict(num_convs=2),
    roi_head=dict(
        bbox_head=dict(type="Shared4Conv1FCBBoxHead", conv_out_channels=256, norm_cfg=norm_cfg),
        mask_head=dict(norm_cfg=norm_cfg),
    ),
)
