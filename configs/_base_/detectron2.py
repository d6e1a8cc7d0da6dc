"""What the LazyConfigs share: Detectron2's own FPN detectors, COCO data and schedules.

The data are where DETECTRON2_DATASETS says, in coco/; 16 images a step at learning rate 0.02.
"""

from copy import deepcopy

from detectron2 import model_zoo
from detectron2.config import LazyCall

from resnext_backbones.adapters.detectron2 import ResNeXtBackbone


def _zoo(name):
    return model_zoo.get_config(f"common/{name}.py")


mask_rcnn = _zoo("models/mask_rcnn_fpn").model
mask_rcnn.backbone.bottom_up = LazyCall(ResNeXtBackbone)(
    depth=50,
    num_groups=32,
    width_per_group=4,
    out_features=["res2", "res3", "res4", "res5"],
    freeze_at=2,
    norm="FrozenBN",
    weights=None,
)
faster_rcnn = deepcopy(mask_rcnn)
for _name in ("mask_in_features", "mask_pooler", "mask_head"):
    faster_rcnn.roi_heads.pop(_name)

masks = _zoo("data/coco").dataloader
boxes = deepcopy(masks)
boxes.train.mapper.use_instance_mask = False

optimizer = _zoo("optim").SGD

_schedules = _zoo("coco_schedule")
lr_1x, lr_3x = _schedules.lr_multiplier_1x, _schedules.lr_multiplier_3x
train_1x = _zoo("train").train
train_3x = deepcopy(train_1x)
train_3x.max_iter = 3 * train_1x.max_iter
