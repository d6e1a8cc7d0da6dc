"""torchvision's DeepLabV3, ResNeXt-50 32x4d, on COCO's instances, drawn as VOC's classes.

torchrun --nproc_per_node 8 tools/train.py configs/torchvision/deeplabv3_x50_32x4d_coco.py

Another network is `--variant resnext101_64x4d` with its `--weights`.
"""

_base_ = ["../_base_/torchvision_segmentation.py", "../_base_/coco_root.py"]

coco = dict(stored_as="coco", data_root=_base_.coco_root)
train_dataloader = dict(
    dataset=dict(**coco, ann_file="annotations/instances_train2017.json", image_folder="train2017")
)
val_dataloader = dict(
    dataset=dict(**coco, ann_file="annotations/instances_val2017.json", image_folder="val2017")
)
test_dataloader = val_dataloader

model = dict(
    network="deeplabv3",
    backbone=dict(variant="resnext50_32x4d", weights="torchvision/resnext50_32x4d.v2"),
)
