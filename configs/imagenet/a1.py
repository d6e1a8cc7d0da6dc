"""A1 of ResNet strikes back takes 600 epochs at 224 pixels: Wightman et al. (2021), Table 2.

Made for 256 images on each of 8 GPUs.
"""

_base_ = "../_base_/imagenet_rsb.py"

train_dataloader = dict(
    sampler=dict(_delete_=True, type="resnext_backbones.RepeatedAugmentationSampler", repeats=3),
    dataset=dict(
        pipeline=[
            dict(type="resnext_backbones.RandomResizedCrop", size=224, interpolation="bicubic"),
            dict(type="resnext_backbones.RandomHorizontalFlip"),
            dict(type="resnext_backbones.TimmRandAugment", policy="rand-m7-mstd0.5-inc1"),
            dict(type="resnext_backbones.PILToTensor"),
        ]
    ),
)
model = dict(
    label_smoothing=0.1,
    network=dict(drop_path=0.05),
    data_preprocessor=dict(mixup=0.2),
)
train_cfg = dict(max_epochs=600)
optim_wrapper = dict(optimizer=dict(lr=5e-3, weight_decay=0.01))
