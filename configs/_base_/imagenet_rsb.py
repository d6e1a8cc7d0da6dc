"""A1, A2 and A3 of ResNet strikes back have this in common: Wightman et al. (2021), Table 2.

LAMB with one decision a class, cosine after 5 epochs of warm-up, no weight decay on norms and
biases, batch 2048; RandAugment, mixup and CutMix. Evaluated on the middle 224 pixels, which are
95% of the shorter side.
"""

_base_ = "./imagenet.py"

custom_imports = dict(
    imports=[
        "resnext_backbones.tasks.classification.run",
        "resnext_backbones.tasks.classification.optimizers",
    ],
    allow_failed_imports=False,
)
train_dataloader = dict(batch_size=256)
val_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(
                type="resnext_backbones.CenterCrop", size=224, resize=235, interpolation="bicubic"
            ),
            dict(type="resnext_backbones.PILToTensor"),
        ]
    ),
)
model = dict(
    loss="binary",
    network=dict(variant="resnext50_32x4d"),
    data_preprocessor=dict(cutmix=1.0),
)
train_cfg = dict(type="EpochBasedTrainLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    constructor="resnext_backbones.FewGroups",
    optimizer=dict(type="resnext_backbones.Lamb", lr=5e-3, weight_decay=0.02),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
warmup_epochs = 5
# Where a schedule ends MMEngine fills in: with the last epoch.
param_scheduler = [
    # The whole rate comes with the first epoch behind the warm-up, which MMEngine counts in.
    dict(type="LinearLR", start_factor=1e-4, begin=0, end=warmup_epochs + 1),
    dict(type="CosineAnnealingLR", begin=warmup_epochs),
]
auto_scale_lr = dict(enable=True, base_batch_size=2048)
