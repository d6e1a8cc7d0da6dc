"""A small Mask R-CNN on small images, for a processor of a few cores.

python tools/train.py configs/demo_coco.py

It runs on whatever has COCO's layout. On COCO itself it shows that everything works; its AP there
is not worth comparing.
"""

_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "./_base_/coco_instance.py",
    "./_base_/runtime.py",
]

image_scale = (128, 128)
batch_size = 4
max_epochs = 2

# Random weights, or those of a minute: nothing is frozen and the statistics are learned, in the
# neck as well. A quarter of the channels, and few regions: on a processor RoIAlign costs as much as
# the backbone.
channels = 64
roi_extractor = dict(
    out_channels=channels,
    finest_scale=28,  # half of the usual, as objects on small images are small
    roi_layer=dict(sampling_ratio=1),
)
model = dict(
    backbone=dict(
        _delete_=True,
        type="resnext_backbones.ResNeXt",
        variant="resnext26_32x4d",
        frozen_stages=-1,
        norm_eval=False,
    ),
    neck=dict(out_channels=channels, norm_cfg=dict(type="BN")),
    rpn_head=dict(in_channels=channels, feat_channels=channels),
    roi_head=dict(
        bbox_roi_extractor=roi_extractor,
        bbox_head=dict(in_channels=channels, fc_out_channels=256),
        mask_roi_extractor=roi_extractor,
        mask_head=dict(
            num_convs=2,
            in_channels=channels,
            conv_out_channels=channels,
            norm_cfg=dict(type="BN"),  # it learns in few steps
        ),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(sampler=dict(num=32, pos_fraction=0.5)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100), rcnn=dict(max_per_img=50)),
)

# Loading small images is quick; worker processes would only take the cores from the network.
resize = dict(type="Resize", scale=image_scale, keep_ratio=True)
loader = dict(batch_size=batch_size, num_workers=0, persistent_workers=False)
train_dataloader = dict(
    **loader,
    dataset=dict(pipeline=[resize if t["type"] == "Resize" else t for t in _base_.train_pipeline]),
)
val_dataloader = dict(
    **loader,
    dataset=dict(pipeline=[resize if t["type"] == "Resize" else t for t in _base_.test_pipeline]),
)
test_dataloader = val_dataloader

train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=max_epochs)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.05, fused=True),
    clip_grad=dict(max_norm=10),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=20),
    dict(type="CosineAnnealingLR", T_max=max_epochs, end=max_epochs, convert_to_iter_based=True),
]
auto_scale_lr = dict(enable=True, base_batch_size=batch_size)
default_hooks = dict(logger=dict(interval=10))
randomness = dict(seed=0)
