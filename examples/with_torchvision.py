"""torchvision's Faster R-CNN on this backbone.

python examples/with_torchvision.py --weights torchvision/resnext101_32x8d.v2
"""

import argparse

import torch
from torchvision.models.detection import FasterRCNN

from resnext_backbones.adapters.torchvision import pixel_options, resnext_fpn

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--weights", help="of the backbone: a file, an address or an alias")
parser.add_argument("--variant", default="resnext101_32x8d", help="default %(default)s")
args = parser.parse_args()

backbone = resnext_fpn(args.variant, weights=args.weights, trainable_layers=3)
pixels = pixel_options(args.weights) if args.weights else {}
detector = FasterRCNN(backbone, num_classes=81, min_size=256, max_size=320, **pixels)

# One step of training, on one image with one object.
image = torch.rand(3, 256, 320)
target = {"boxes": torch.tensor([[40.0, 60.0, 200.0, 220.0]]), "labels": torch.tensor([7])}
loss = sum(detector.train()([image], [target]).values())
optimizer = torch.optim.SGD([p for p in detector.parameters() if p.requires_grad], lr=0.02)
loss.backward()
optimizer.step()
print(f"loss {loss.item():.3f}")
