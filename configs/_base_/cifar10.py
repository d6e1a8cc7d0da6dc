"""CIFAR-10, padded with its mean colour: the authors pad by zeros behind the normalisation."""

_base_ = "./cifar.py"

train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="resnext_backbones.RandomCrop", size=32, padding=4, fill=[125, 123, 114]),
            dict(type="resnext_backbones.RandomHorizontalFlip"),
            dict(type="resnext_backbones.PILToTensor"),
        ],
    ),
)
