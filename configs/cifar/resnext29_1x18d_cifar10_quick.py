r"""The same with one group of 18 channels: as many parameters and multiply-adds as 8 groups of 4.

python tools/pretrain_imagenet.py configs/cifar/resnext29_1x18d_cifar10_quick.py \
    --data-root data/cifar10 --amp bf16
"""

_base_ = "./resnext29_8x4d_cifar10_quick.py"

model = dict(network=dict(cardinality=1, base_width=18))
