"""COCO 2017 with boxes and masks, from `coco_root`."""

_base_ = ["mmdet::_base_/datasets/coco_instance.py", "./coco_root.py"]

data_root = _base_.coco_root
ann_file = data_root + "/annotations/instances_val2017.json"
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
val_evaluator = dict(ann_file=ann_file)
test_evaluator = dict(ann_file=ann_file)
