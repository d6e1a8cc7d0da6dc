r"""The demo's detector on the trunk that configs/cifar/cifar10_quick.py pretrains.

python tools/train.py configs/demo_shapes_resnext29.py \
    --weights work_dirs/resnext29_8x4d_cifar10_quick/resnext29_8x4d_cifar10_quick-HASH.safetensors

The stem of a network for CIFAR keeps the size of an image; here its first stage halves it, and the
maps have strides of 2, 4 and 8.
"""

_base_ = "./demo_shapes.py"

strides = [2, 4, 8]
roi_extractor = dict(featmap_strides=strides, finest_scale=14)
model = dict(
    backbone=dict(
        variant=None,
        depth=29,
        groups=8,
        base_width=4,
        base_channels=16,
        small_images=True,
        num_stages=3,
        strides=(2, 2, 2),
        out_indices=(0, 1, 2),
    ),
    neck=dict(in_channels=[64, 128, 256], num_outs=4),
    rpn_head=dict(anchor_generator=dict(strides=[*strides, 16])),
    roi_head=dict(bbox_roi_extractor=roi_extractor, mask_roi_extractor=roi_extractor),
)
