"""torchvision's DeepLabV3, ResNeXt-50 32x4d, on VOC 2012.

VOC_ROOT=data/voc torchrun --nproc_per_node 8 tools/train.py \
    configs/torchvision/deeplabv3_x50_32x4d_voc.py

VOC_ROOT is the folder with VOCdevkit/VOC2012/.
"""

_base_ = "../_base_/torchvision_segmentation.py"

voc = dict(stored_as="voc", data_root="{{$VOC_ROOT:data/voc}}")
train_dataloader = dict(dataset=voc)
val_dataloader = dict(dataset=voc)
test_dataloader = val_dataloader

model = dict(
    network="deeplabv3",
    backbone=dict(variant="resnext50_32x4d", weights="torchvision/resnext50_32x4d.v2"),
)
