"""Mask R-CNN, ResNeXt, FPN, 1x: 90,000 steps of 16 images."""

from .._base_.detectron2 import lr_1x as lr_multiplier
from .._base_.detectron2 import mask_rcnn as model
from .._base_.detectron2 import masks as dataloader
from .._base_.detectron2 import network, networks, optimizer
from .._base_.detectron2 import train_1x as train
