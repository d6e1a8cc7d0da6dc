"""The demo's backbone learns in a minute to classify the objects on the demo's own images.

python tools/pretrain_imagenet.py configs/demo_crops.py --data-root crops
"""

_base_ = "./_base_/pretraining.py"

data_root = "data/crops"
num_classes = 5
size = 48
pixels = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])

# Small images load quickly; workers would only take the cores from the network.
loader = dict(num_workers=0, persistent_workers=False, pin_memory=False)
train_dataloader = dict(
    **loader,
    batch_size=32,
    dataset=dict(
        type="resnext_backbones.LabelledImages",
        root=data_root + "/train",
        pipeline=[
            dict(type="resnext_backbones.RandomResizedCrop", size=size, scale=(0.4, 1)),
            dict(type="resnext_backbones.RandomHorizontalFlip"),
            dict(type="resnext_backbones.ColorNoise"),
            dict(type="resnext_backbones.PILToTensor"),
        ],
    ),
)
val_dataloader = dict(
    **loader,
    batch_size=64,
    dataset=dict(
        type="resnext_backbones.LabelledImages",
        root=data_root + "/val",
        train=False,
        pipeline=[
            dict(type="resnext_backbones.CenterCrop", size=size, resize=size),
            dict(type="resnext_backbones.PILToTensor"),
        ],
    ),
)
model = dict(
    type="resnext_backbones.ImageClassifier",
    num_classes=num_classes,
    network=dict(variant="resnext26_32x4d"),
    data_preprocessor=dict(type="resnext_backbones.BatchPreprocessor", **pixels),
)
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=2)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.05, fused=True),
)
param_scheduler = [dict(type="CosineAnnealingLR", convert_to_iter_based=True)]
auto_scale_lr = dict(enable=True, base_batch_size=32)
default_hooks = dict(logger=dict(interval=10))
