"""ResNeXt-29 8x64d on CIFAR-10.

python tools/pretrain_imagenet.py configs/cifar/resnext29_8x64d_cifar10.py --data-root cifar10
"""

_base_ = "../_base_/cifar.py"

model = dict(network=dict(variant="resnext29_8x64d"))
