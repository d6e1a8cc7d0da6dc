"""CIFAR-100 is trained on as CIFAR-10 is, with its own classes, mean colour and pixels.

resnext pretrain cifar/cifar100 --data-root data/cifar100 --amp bf16
"""

_base_ = "./cifar10.py"

data_root = "data/cifar100"
stored_as = "cifar100"
num_classes = 100

dataset = dict(root=data_root, stored_as=stored_as)
train_dataloader = dict(
    dataset=dict(
        **dataset,
        pipeline=[
            dict(type="resnext_backbones.RandomCrop", size=32, padding=4, fill=[129, 124, 112]),
            dict(type="resnext_backbones.RandomHorizontalFlip"),
            dict(type="resnext_backbones.PILToTensor"),
        ],
    ),
)
val_dataloader = dict(dataset=dataset)
model = dict(
    num_classes=num_classes,
    data_preprocessor=dict(mean=[129.3, 124.1, 112.4], std=[68.2, 65.4, 70.4]),
)
