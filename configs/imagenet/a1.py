"""ResNet strikes back, A1: 600 epochs at 224 pixels; Wightman et al. (2021), Table 2.

Made for 256 images on each of 8 GPUs.
"""

_base_ = "../_base_/imagenet_rsb.py"

max_epochs = 600

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
    network=dict(variant="resnext50_32x4d", drop_path=0.05),
    data_preprocessor=dict(mixup=0.2, cutmix=1.0),
)
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=5e-3, weight_decay=0.01))
param_scheduler = [
    # The whole rate comes with the first epoch behind the warm-up, which MMEngine counts in.
    dict(type="LinearLR", start_factor=1e-4, begin=0, end=_base_.warmup_epochs + 1),
    dict(
        type="CosineAnnealingLR",
        T_max=max_epochs - _base_.warmup_epochs,
        begin=_base_.warmup_epochs,
        end=max_epochs,
    ),
]
