"""Faster R-CNN, ResNeXt-101 32x4d, FPN, 1x: 90,000 steps of 16 images.

python tools/train_detectron2.py faster_rcnn_x101_32x4d_fpn_1x --num-gpus 8

Hardware: 8 GPUs, 2 images each.
Expected: 41.2 box AP in MMDetection's zoo, from 12 epochs of images of one size.
"""

from resnext_backbones.tasks.detectron2 import use_weights

from .._base_.detectron2 import boxes as dataloader
from .._base_.detectron2 import faster_rcnn as model
from .._base_.detectron2 import lr_1x as lr_multiplier
from .._base_.detectron2 import optimizer
from .._base_.detectron2 import train_1x as train

model.backbone.bottom_up.update(depth=101, num_groups=32, width_per_group=4)
use_weights(model, dataloader, "open-mmlab/resnext101_32x4d")
