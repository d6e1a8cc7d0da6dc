"""Small data sets come in COCO's layout: shapes that are drawn, or a part of a real one."""

from resnext_backbones.datasets.from_coco import coco_subset, object_crops
from resnext_backbones.datasets.shapes import SHAPES, generate_shapes

__all__ = ["SHAPES", "coco_subset", "generate_shapes", "object_crops"]
