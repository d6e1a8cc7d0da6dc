"""The paper trains by this recipe: Xie et al. (2017), section 4, with what the authors' code adds.

SGD with a rate of 0.1 for a batch of 256, Nesterov momentum 0.9 and weight decay 1e-4 on all
parameters; a tenth of the rate every 30 epochs, 90 in all. Crops of 8 to 100% of an image, resized
by bicubic interpolation, mirrored at random, with colours that vary; evaluated on the middle 224
pixels of a shorter side of 256. Made for 32 images on each of 8 GPUs.
"""

_base_ = "../_base_/imagenet.py"

train_dataloader = dict(
    batch_size=32,
    dataset=dict(
        pipeline=[
            dict(type="resnext_backbones.RandomResizedCrop", size=224, interpolation="bicubic"),
            dict(type="resnext_backbones.RandomHorizontalFlip"),
            dict(
                type="resnext_backbones.ColorNoise",
                brightness=0.4,
                contrast=0.4,
                saturation=0.4,
                lighting=0.1,
            ),
            dict(type="resnext_backbones.PILToTensor"),
        ]
    ),
)
val_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(
                type="resnext_backbones.CenterCrop", size=224, resize=256, interpolation="bicubic"
            ),
            dict(type="resnext_backbones.PILToTensor"),
        ]
    ),
)
model = dict(network=dict(variant="resnext50_32x4d"))
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=90)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True, fused=True),
)
param_scheduler = [dict(type="MultiStepLR", milestones=[30, 60], gamma=0.1)]
auto_scale_lr = dict(enable=True, base_batch_size=256)
