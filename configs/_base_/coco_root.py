"""Where COCO lies: the folder with annotations/, train2017/ and val2017/."""

coco_root = "{{$COCO_ROOT:data/coco}}"
