"""Mask R-CNN, ResNeXt-101 64x4d, FPN, 3x: 270,000 steps of 16 images.

python tools/train_detectron2.py mask_rcnn_x101_64x4d_fpn_3x --num-gpus 8

Hardware: 8 GPUs, 2 images each.
No published result is known.
"""

from resnext_backbones.tasks.detectron2 import use_weights

from .._base_.detectron2 import lr_3x as lr_multiplier
from .._base_.detectron2 import mask_rcnn as model
from .._base_.detectron2 import masks as dataloader
from .._base_.detectron2 import optimizer
from .._base_.detectron2 import train_3x as train

model.backbone.bottom_up.update(depth=101, num_groups=64, width_per_group=4)
use_weights(model, dataloader, "open-mmlab/resnext101_64x4d")
