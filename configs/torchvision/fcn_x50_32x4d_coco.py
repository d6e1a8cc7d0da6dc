"""torchvision's FCN, ResNeXt-50 32x4d, on COCO's instances, drawn as VOC's classes.

torchrun --nproc_per_node 8 tools/train.py configs/torchvision/fcn_x50_32x4d_coco.py
"""

_base_ = "./deeplabv3_x50_32x4d_coco.py"

model = dict(network="fcn")
