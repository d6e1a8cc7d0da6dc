r"""resnext50_32x4d by ResNet strikes back, A3.

torchrun --nproc_per_node 8 tools/pretrain_imagenet.py \
    configs/imagenet/resnext50_32x4d_a3.py --data-root imagenet --amp bf16

Made for 256 images on each of 8 GPUs; the learning rate follows the batch. Expected: 79.3%
top-1 (timm's results, resnext50_32x4d.a3_in1k).
"""

_base_ = "../_base_/imagenet_a3.py"

model = dict(network=dict(variant="resnext50_32x4d"))
