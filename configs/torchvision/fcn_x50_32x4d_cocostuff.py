"""torchvision's FCN, ResNeXt-50 32x4d, on COCO's stuff and things: masks in a folder of PNGs.

COCO_ROOT=data/coco MASK_ROOT=data/stuffthingmaps torchrun --nproc_per_node 8 tools/train.py \
    configs/torchvision/fcn_x50_32x4d_cocostuff.py

MASK_ROOT has train2017/ and val2017/ of stuffthingmaps_trainval2017.zip: PNGs of classes, named as
the images, 255 for none. Masks of your own differ in `num_classes`.
"""

_base_ = ["../_base_/torchvision_segmentation.py", "../_base_/coco_root.py"]

mask_root = "{{$MASK_ROOT:data/stuffthingmaps}}"
num_classes = 182
folders = dict(stored_as="folders", num_classes=num_classes)
train_dataloader = dict(
    dataset=dict(**folders, images=f"{_base_.coco_root}/train2017", masks=f"{mask_root}/train2017")
)
val_dataloader = dict(
    dataset=dict(**folders, images=f"{_base_.coco_root}/val2017", masks=f"{mask_root}/val2017")
)
test_dataloader = val_dataloader

model = dict(
    network="fcn",
    backbone=dict(variant="resnext50_32x4d", weights="torchvision/resnext50_32x4d.v2"),
)
