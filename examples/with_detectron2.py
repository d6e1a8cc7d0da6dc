"""Detectron2's Faster R-CNN on this backbone: a config of its zoo in which one name is another.

python examples/with_detectron2.py --weights detectron2/X-101-32x8d
"""

import argparse

import torch
from detectron2 import model_zoo
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

import resnext_backbones.adapters.detectron2  # noqa: F401  registers the backbones
from resnext_backbones import load_weights, preprocessing_of

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--weights", help="of the backbone: a file, an address or an alias")
args = parser.parse_args()

cfg = model_zoo.get_config("COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml")
cfg.MODEL.BACKBONE.NAME = "build_resnext_fpn_backbone"
cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if args.weights and (pixels := preprocessing_of(args.weights)):
    cfg.INPUT.FORMAT, cfg.MODEL.PIXEL_MEAN = pixels.order, list(pixels.mean)
    cfg.MODEL.PIXEL_STD = list(pixels.std)
detector = build_model(cfg)
if args.weights:
    load_weights(detector.backbone.bottom_up.trunk, args.weights)

# One step of training, on one image with one object.
image = torch.randint(0, 256, (3, 256, 320), dtype=torch.uint8)
boxes = Boxes(torch.tensor([[40.0, 60.0, 200.0, 220.0]]))
objects = Instances((256, 320), gt_boxes=boxes, gt_classes=torch.tensor([7]))
with EventStorage():  # which Detectron2's engine opens around its steps
    loss = sum(detector.train()([{"image": image, "instances": objects}]).values())
optimizer = torch.optim.SGD([p for p in detector.parameters() if p.requires_grad], lr=0.02)
loss.backward()
optimizer.step()
print(f"loss {loss.item():.3f}")
