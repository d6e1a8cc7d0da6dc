"""The demo's detector on the drawn shapes: only the classes differ.

make demo
"""

_base_ = "./demo_coco.py"

metainfo = dict(classes=("circle", "square", "triangle", "star", "cross"))
num_classes = len(metainfo["classes"])

model = dict(
    roi_head=dict(bbox_head=dict(num_classes=num_classes), mask_head=dict(num_classes=num_classes))
)
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = val_dataloader
