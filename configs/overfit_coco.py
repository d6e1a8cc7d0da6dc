"""Mask R-CNN, ResNeXt-50 32x4d, FPN, learns up to a hundred images by heart, on a processor.

COCO_ROOT=data/coco_tiny python tools/train.py configs/overfit_coco.py --amp bf16

It takes the first hundred of COCO_ROOT's, and is evaluated on the images that it is trained on: AP
near 100 says that annotations, losses, weights and evaluation fit together, and nothing about other
images. MMDetection's own tools evaluate on the whole annotation file, also where it has more.
Of 80 images of COCO it reached 0.959 box and 0.847 mask AP at IoU 0.5.
"""

_base_ = "./demo_coco.py"

images = 100  # of a whole COCO, too; those without objects are evaluated, and not trained on
image_scale = (320, 320)
batch_size = 2
max_epochs = 80

channels = 128
roi_extractor = dict(out_channels=channels)
model = dict(
    backbone=dict(variant="resnext50_32x4d"),
    neck=dict(out_channels=channels),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(scales=[2, 4]),  # objects of eight pixels, too
    ),
    roi_head=dict(
        bbox_roi_extractor=roi_extractor,
        bbox_head=dict(in_channels=channels, fc_out_channels=512),
        mask_roi_extractor=roi_extractor,
        mask_head=dict(in_channels=channels, conv_out_channels=channels),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=256)),
        rpn_proposal=dict(nms_pre=1000, max_per_img=300),
        rcnn=dict(sampler=dict(num=64)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=1000, max_per_img=300), rcnn=dict(max_per_img=100)),
)

resize = dict(type="Resize", scale=image_scale, keep_ratio=True)
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(
        indices=images,
        pipeline=[
            resize if t["type"] == "Resize" else t
            for t in _base_.train_pipeline
            if t["type"] != "RandomFlip"  # what is learnt by heart is shown as it is
        ],
    ),
)
val_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(
        indices=images,
        ann_file="annotations/instances_train2017.json",
        data_prefix=dict(img="train2017/"),
        pipeline=[resize if t["type"] == "Resize" else t for t in _base_.test_pipeline],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=_base_.coco_root + "/annotations/instances_train2017.json")
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=max_epochs, val_interval=20)
optim_wrapper = dict(optimizer=dict(lr=4e-4, weight_decay=0.01))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=100),
    dict(type="CosineAnnealingLR", T_max=max_epochs, end=max_epochs, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=batch_size)
default_hooks = dict(checkpoint=dict(interval=5))
