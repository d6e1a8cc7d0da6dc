r"""resnext101_32x8d by the paper's recipe.

torchrun --nproc_per_node 8 tools/pretrain_imagenet.py \
    configs/imagenet/resnext101_32x8d_paper.py --data-root imagenet --amp bf16

Made for 32 images on each of 8 GPUs; the learning rate follows the batch. Expected: no published
figure for this recipe; torchvision's first weights have 79.3% top-1.
"""

_base_ = "../_base_/imagenet_paper.py"

model = dict(network=dict(variant="resnext101_32x8d"))
