"""COCO 2017 with boxes, the shorter side of training images 640 to 800 pixels."""

_base_ = "./coco_detection.py"

resize = dict(type="RandomResize", scale=[(1333, 640), (1333, 800)], keep_ratio=True)
train_pipeline = [resize if t["type"] == "Resize" else t for t in _base_.train_pipeline]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
