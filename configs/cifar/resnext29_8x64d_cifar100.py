r"""ResNeXt-29 8x64d on CIFAR-100.

python tools/pretrain_imagenet.py configs/cifar/resnext29_8x64d_cifar100.py \
    --data-root data/cifar100 --amp bf16

Made for one GPU. Expected: 17.77% top-1 error (Xie et al., 2017, Table 7).
"""

_base_ = "../_base_/cifar.py"

data_root = "data/cifar100"
stored_as = "cifar100"
dataset = dict(root=data_root, stored_as=stored_as)
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
model = dict(
    num_classes=100,
    network=dict(variant="resnext29_8x64d"),
    data_preprocessor=dict(num_classes=100, mean=[129.3, 124.1, 112.4], std=[68.2, 65.4, 70.4]),
)
