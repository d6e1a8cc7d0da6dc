r"""resnext101_32x4d by torchvision's second recipe.

torchrun --nproc_per_node 8 tools/pretrain_imagenet.py \
    configs/imagenet/resnext101_32x4d_v2.py --data-root imagenet --amp bf16

Made for 128 images on each of 8 GPUs; the learning rate follows the batch. Expected: no published
figure for this recipe.
"""

_base_ = "../_base_/imagenet_v2.py"

model = dict(network=dict(variant="resnext101_32x4d"))
