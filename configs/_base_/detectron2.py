"""The LazyConfigs share this: Detectron2's own FPN detectors, COCO data and schedules, and the
networks that they take: `network.variant` says which, and brings its weights and their pixels.

python tools/train_detectron2.py mask_rcnn_fpn_3x --num-gpus 8
python tools/train_detectron2.py mask_rcnn_fpn_1x --variant resnext50_32x4d --num-gpus 8

The data are where DETECTRON2_DATASETS says, in coco/; 16 images a step at learning rate 0.02, made
for 8 GPUs with 2 images each. `resnext list --configs detectron2` has what they should reach.
"""

from copy import deepcopy

from detectron2 import model_zoo
from detectron2.config import LazyCall

from resnext_backbones.adapters.detectron2 import ResNeXtBackbone
from resnext_backbones.tasks.detectron2 import networks_of


def _zoo(name):
    return model_zoo.get_config(f"common/{name}.py")


network = dict(variant="resnext101_32x8d")
networks = networks_of(
    "torchvision/resnext50_32x4d.v1",
    "open-mmlab/resnext101_32x4d",
    "open-mmlab/resnext101_64x4d",
    "detectron2/X-101-32x8d",
)


def _of_network(key):
    return f"${{networks.${{network.variant}}.{key}}}"


mask_rcnn = _zoo("models/mask_rcnn_fpn").model
mask_rcnn.backbone.bottom_up = LazyCall(ResNeXtBackbone)(
    **{key: _of_network(key) for key in ("depth", "num_groups", "width_per_group", "weights")},
    out_features=["res2", "res3", "res4", "res5"],
    freeze_at=2,
    norm="FrozenBN",
)
mask_rcnn.pixel_mean = _of_network("pixel_mean")
mask_rcnn.pixel_std = _of_network("pixel_std")
mask_rcnn.input_format = _of_network("image_format")
faster_rcnn = deepcopy(mask_rcnn)
for _name in ("mask_in_features", "mask_pooler", "mask_head"):
    faster_rcnn.roi_heads.pop(_name)

masks = _zoo("data/coco").dataloader
masks.train.mapper.image_format = _of_network("image_format")
boxes = deepcopy(masks)
boxes.train.mapper.use_instance_mask = False

optimizer = _zoo("optim").SGD

_schedules = _zoo("coco_schedule")
lr_1x, lr_3x = _schedules.lr_multiplier_1x, _schedules.lr_multiplier_3x
train_1x = _zoo("train").train
train_3x = deepcopy(train_1x)
train_3x.max_iter = 3 * train_1x.max_iter
