"""Small data sets come in COCO's layout: shapes that are drawn, or a part of a real one."""

from resnext_backbones.datasets.crops import object_crops
from resnext_backbones.datasets.shapes import SHAPES, generate_shapes
from resnext_backbones.datasets.subset import coco_subset

__all__ = ["SHAPES", "coco_subset", "generate_shapes", "object_crops"]
