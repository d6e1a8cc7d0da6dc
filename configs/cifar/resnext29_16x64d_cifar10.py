r"""ResNeXt-29 16x64d on CIFAR-10.

python tools/pretrain_imagenet.py configs/cifar/resnext29_16x64d_cifar10.py \
    --data-root data/cifar10 --amp bf16

Made for one GPU. Expected: 3.58% top-1 error (Xie et al., 2017, Table 7).
"""

_base_ = "../_base_/cifar10.py"

model = dict(network=dict(variant="resnext29_16x64d"))
