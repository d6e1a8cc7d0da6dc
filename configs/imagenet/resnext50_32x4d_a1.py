r"""resnext50_32x4d by ResNet strikes back, A1.

torchrun --nproc_per_node 8 tools/pretrain_imagenet.py \
    configs/imagenet/resnext50_32x4d_a1.py --data-root imagenet --amp bf16

Made for 256 images on each of 8 GPUs; the learning rate follows the batch. Expected: 80.5%
top-1 (timm's results, resnext50_32x4d.a1_in1k).
"""

_base_ = "../_base_/imagenet_a1.py"

model = dict(network=dict(variant="resnext50_32x4d"))
