"""torchvision's Mask R-CNN, ResNeXt-50 32x4d, FPN, COCO, 12 epochs.

torchrun --nproc_per_node 8 tools/train.py configs/torchvision/mask_rcnn_x50_32x4d_fpn_coco.py

Another network is `--variant resnext101_64x4d` with its `--weights`.
"""

_base_ = "./faster_rcnn_x50_32x4d_fpn_coco.py"

model = dict(network="mask_rcnn")
train_dataloader = dict(dataset=dict(masks=True))
val_evaluator = dict(kinds=["bbox", "segm"])
test_evaluator = val_evaluator
