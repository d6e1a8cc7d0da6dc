"""torchvision's detectors on COCO, by the recipe of its references/detection.

12 epochs, a tenth of the rate from epoch 8 and again from 11; 0.02 for 16 images a step, and in
proportion for others, behind a warm-up of 1000 steps, or of an epoch where that is shorter.
"""

_base_ = ["./torchvision.py", "./coco_root.py"]

data_root = _base_.coco_root
val_annotations = "annotations/instances_val2017.json"
train_dataloader = dict(
    dataset=dict(
        type="resnext_backbones.CocoInstances",
        data_root=data_root,
        ann_file="annotations/instances_train2017.json",
        image_folder="train2017",
        masks=False,
        train=True,
    ),
)
val_dataloader = dict(
    **_base_.val_dataloader,
    dataset=dict(
        type="resnext_backbones.CocoInstances",
        data_root=data_root,
        ann_file=val_annotations,
        image_folder="val2017",
        masks=False,
        train=False,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type="resnext_backbones.CocoAP", ann_file=f"{data_root}/{val_annotations}", kinds=["bbox"]
)
test_evaluator = val_evaluator

model = dict(
    type="resnext_backbones.TorchvisionDetector",
    backbone=dict(norm="FrozenBN", trainable_layers=3),
    num_classes=None,  # as many as the annotations have categories
    min_size=800,
    max_size=1333,
)
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=12)
param_scheduler = [
    dict(type="resnext_backbones.WarmUp", steps=1000, convert_to_iter_based=True),
    dict(type="MultiStepLR", milestones=[8, 11], gamma=0.1),
]
auto_scale_lr = dict(enable=True, base_batch_size=16)
