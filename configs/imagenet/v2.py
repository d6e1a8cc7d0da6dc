"""Torchvision's second weights were trained by this recipe.

SGD with a rate of 0.5 for a batch of 1024, momentum 0.9 and weight decay 2e-5, none on norms; 600
epochs of cosine after 5 of warm-up. Crops of 176 pixels, four augmentations of each image
(TrivialAugment), random erasing, mixup 0.2 or CutMix 1.0, label smoothing 0.1; the average of the
weights (a decay of 0.99998 for each step, taken every 32) evaluated on the middle 224 pixels of a
shorter side of 232. Made for 128 images on each of 8 GPUs.
"""

_base_ = "../_base_/imagenet.py"

warmup_epochs = 5

train_dataloader = dict(
    batch_size=128,
    sampler=dict(_delete_=True, type="resnext_backbones.RepeatedAugmentationSampler", repeats=4),
    dataset=dict(
        pipeline=[
            dict(type="resnext_backbones.RandomResizedCrop", size=176),
            dict(type="resnext_backbones.RandomHorizontalFlip"),
            dict(type="resnext_backbones.TrivialAugmentWide"),
            dict(type="resnext_backbones.PILToTensor"),
            dict(type="resnext_backbones.RandomErasing", p=0.1, value=[124, 116, 104]),
        ]
    ),
)
val_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="resnext_backbones.CenterCrop", size=224, resize=232),
            dict(type="resnext_backbones.PILToTensor"),
        ]
    ),
)
model = dict(
    network=dict(variant="resnext50_32x4d"),
    label_smoothing=0.1,
    data_preprocessor=dict(mixup=0.2, cutmix=1.0),
)
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=600)
optim_wrapper = dict(
    type="OptimWrapper",
    constructor="resnext_backbones.FewGroups",
    optimizer=dict(type="SGD", lr=0.5, momentum=0.9, weight_decay=2e-5, fused=True),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
param_scheduler = [
    # The whole rate comes with the first epoch behind the warm-up, which MMEngine counts in.
    dict(type="LinearLR", start_factor=0.01, begin=0, end=warmup_epochs + 1),
    dict(type="CosineAnnealingLR", begin=warmup_epochs),
]
auto_scale_lr = dict(enable=True, base_batch_size=1024)
# A share of (1 - 0.99998) x 1024 x 32 / 600, as torchvision's training computes it, which begins to
# average behind the warm-up.
ema = dict(
    type="EMAHook",
    momentum=1.1e-3,
    interval=32,
    update_buffers=True,
    begin_epoch=warmup_epochs + 1,
)
custom_hooks = [*_base_.custom_hooks, dict(priority="ABOVE_NORMAL", **ema)]
