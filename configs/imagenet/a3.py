"""A3 of ResNet strikes back takes 100 epochs at 160 pixels: Wightman et al. (2021), Table 2.

Made for 256 images on each of 8 GPUs.
"""

_base_ = "../_base_/imagenet_rsb.py"

train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="resnext_backbones.RandomResizedCrop", size=160, interpolation="bicubic"),
            dict(type="resnext_backbones.RandomHorizontalFlip"),
            dict(type="resnext_backbones.TimmRandAugment", policy="rand-m6-mstd0.5-inc1"),
            dict(type="resnext_backbones.PILToTensor"),
        ]
    ),
)
model = dict(
    label_smoothing=0.0,
    network=dict(drop_path=0.0),
    data_preprocessor=dict(mixup=0.1),
)
train_cfg = dict(max_epochs=100)
optim_wrapper = dict(optimizer=dict(lr=8e-3, weight_decay=0.02))
