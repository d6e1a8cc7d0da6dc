"""Mask R-CNN, ResNeXt, FPN, 100 epochs of large-scale jitter with SyncBN, AdamW and EMA: 737,500
steps of 16 images.

resnext train-detectron2 mask_rcnn_fpn_lsj_100e --num-gpus 8
resnext train-detectron2 mask_rcnn_fpn_lsj_100e --num-gpus 8 --variant seresnextaa101d_32x8d
resnext train-detectron2 mask_rcnn_fpn_lsj_100e --num-gpus 8 --weights timm/resnext50_32x4d.a1_in1k

Detector, images and schedule are those of Detectron2's new_baselines, whose R-50 reaches 44.6 box
and 40.3 mask AP from random weights with SGD and 64 images a step. What is changed: weights of
longer pretraining, and with them AdamW at the rate, the weight decay and the 16 images with which
MMDetection's resnet_strikes_back trains from weights of the recipe `a1`, four times as many steps,
and averaged weights. mask_rcnn_x50_32x4d_fpn_lsj_100e_coco is the same for MMDetection. Nothing is
published for all of it together.
"""

from detectron2 import model_zoo
from detectron2.config import LazyCall

from resnext_backbones.adapters.detectron2 import ResNeXtBackbone
from resnext_backbones.tasks.detectron2 import variants_of

from .._base_.detectron2 import _of_network, _zoo

network = dict(variant="resnext50_32x4d")
networks = variants_of(
    "torchvision/resnext50_32x4d.v2",
    "torchvision/resnext101_32x8d.v2",
    "torchvision/resnext101_64x4d.v1",  # its first weights, of the second recipe
    "timm/seresnextaa101d_32x8d.sw_in12k_ft_in1k_288",
)

_new = model_zoo.get_config("new_baselines/mask_rcnn_R_50_FPN_100ep_LSJ.py")
model, dataloader, train, lr_multiplier = (
    _new[name] for name in ("model", "dataloader", "train", "lr_multiplier")
)

model.backbone.bottom_up = LazyCall(ResNeXtBackbone)(
    variant=_of_network("variant"),
    weights=_of_network("weights"),
    out_features=["res2", "res3", "res4", "res5"],
    freeze_at=0,
    norm="SyncBN",
)
model.pixel_mean = _of_network("pixel_mean")
model.pixel_std = _of_network("pixel_std")
model.input_format = dataloader.train.mapper.image_format = _of_network("image_format")

_more = dataloader.train.total_batch_size // 16
dataloader.train.total_batch_size = 16
for _place, _key in (
    (train, "max_iter"),
    (train, "eval_period"),
    (train.checkpointer, "period"),
    (lr_multiplier.scheduler, "num_updates"),
):
    _place[_key] *= _more
lr_multiplier.scheduler.milestones = [_more * _step for _step in lr_multiplier.scheduler.milestones]
lr_multiplier.warmup_length = 500 / train.max_iter
train.model_ema = dict(momentum=0.0002)

optimizer = _zoo("optim").AdamW
optimizer.lr, optimizer.weight_decay = 0.0002, 0.05
