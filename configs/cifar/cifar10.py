"""Xie et al. (2017), section 5.3, and the authors' code train on CIFAR-10 like this; for one GPU.

resnext pretrain cifar/cifar10 --data-root data/cifar10 --amp bf16
resnext pretrain cifar/cifar10 --variant resnext29_16x64d --data-root data/cifar10 --amp bf16

Crops of 32 pixels from images padded by 4, mirrored at random; SGD with a rate of 0.1 for a batch
of 128, momentum 0.9 and weight decay 5e-4; a tenth of the rate from epoch 150 and again from 225,
300 epochs in all. Images are padded with their mean colour: the authors pad by zeros behind the
normalisation.
"""

_base_ = "../_base_/pretraining.py"

data_root = "data/cifar10"
stored_as = "cifar10"
num_classes = 10
batch_size = 128

train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(
        type="resnext_backbones.LabelledImages",
        root=data_root,
        stored_as=stored_as,
        pipeline=[
            dict(type="resnext_backbones.RandomCrop", size=32, padding=4, fill=[125, 123, 114]),
            dict(type="resnext_backbones.RandomHorizontalFlip"),
            dict(type="resnext_backbones.PILToTensor"),
        ],
    ),
)
val_dataloader = dict(
    batch_size=500,
    dataset=dict(
        type="resnext_backbones.LabelledImages",
        root=data_root,
        stored_as=stored_as,
        train=False,
        pipeline=[dict(type="resnext_backbones.PILToTensor")],
    ),
)
model = dict(
    type="resnext_backbones.ImageClassifier",
    network=dict(variant="resnext29_8x64d"),
    num_classes=num_classes,
    data_preprocessor=dict(
        type="resnext_backbones.BatchPreprocessor",
        mean=[125.3, 123.0, 113.9],
        std=[63.0, 62.1, 66.7],
    ),
)
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=300)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True, fused=True),
)
param_scheduler = [dict(type="MultiStepLR", milestones=[150, 225], gamma=0.1)]
auto_scale_lr = dict(enable=True, base_batch_size=128)
