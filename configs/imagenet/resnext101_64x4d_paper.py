r"""resnext101_64x4d by the paper's recipe.

torchrun --nproc_per_node 8 tools/pretrain_imagenet.py \
    configs/imagenet/resnext101_64x4d_paper.py --data-root imagenet --amp bf16

Made for 32 images on each of 8 GPUs; the learning rate follows the batch. Expected: 20.4% top-1
error (the authors' repository, facebookresearch/ResNeXt).
"""

_base_ = "../_base_/imagenet_paper.py"

model = dict(network=dict(variant="resnext101_64x4d"))
