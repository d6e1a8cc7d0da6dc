r"""resnext50_32x4d by the paper's recipe.

torchrun --nproc_per_node 8 tools/pretrain_imagenet.py \
    configs/imagenet/resnext50_32x4d_paper.py --data-root imagenet --amp bf16

Made for 32 images on each of 8 GPUs; the learning rate follows the batch. Expected: 22.2% top-1
error (Xie et al., 2017, Table 3).
"""

_base_ = "../_base_/imagenet_paper.py"

model = dict(network=dict(variant="resnext50_32x4d"))
