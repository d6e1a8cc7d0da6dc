"""ResNet strikes back: Wightman et al. (2021), Table 2, what A1, A2 and A3 have in common.

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
warmup_epochs = 5

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
model = dict(loss="binary")
optim_wrapper = dict(
    type="OptimWrapper",
    constructor="resnext_backbones.FewGroups",
    optimizer=dict(type="resnext_backbones.Lamb", lr=5e-3, weight_decay=0.02),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
auto_scale_lr = dict(enable=True, base_batch_size=2048)
