r"""resnext101_64x4d by ResNet strikes back, A3.

torchrun --nproc_per_node 8 tools/pretrain_imagenet.py \
    configs/imagenet/resnext101_64x4d_a3.py --data-root imagenet --amp bf16

Made for 256 images on each of 8 GPUs; the learning rate follows the batch. Expected: no published
figure for this network.
"""

_base_ = "../_base_/imagenet_a3.py"

model = dict(network=dict(variant="resnext101_64x4d"))
