"""transformers' DETR on this backbone.

python examples/with_transformers.py --weights torchvision/resnext50_32x4d.v2
"""

import argparse

import torch
from transformers import DetrConfig, DetrForObjectDetection, DetrImageProcessor

from resnext_backbones.adapters.transformers import ResNeXtConfig, pixel_options

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--weights", help="of the backbone: a file, an address or an alias")
parser.add_argument("--network", default="resnext50_32x4d", help="default %(default)s")
args = parser.parse_args()

backbone = ResNeXtConfig(
    network=args.network, weights=args.weights, out_features=["stage4"], frozen_stages=1
)
config = DetrConfig(backbone_config=backbone, backbone=None, use_timm_backbone=False, num_labels=80)
detector = DetrForObjectDetection(config).train()
pixels = pixel_options(args.weights) if args.weights else {}
processor = DetrImageProcessor(size={"height": 256, "width": 320}, **pixels)

# One step of training, on one image with one object.
image = torch.randint(0, 256, (3, 256, 320), dtype=torch.uint8)
target = {"class_labels": torch.tensor([7]), "boxes": torch.tensor([[0.4, 0.5, 0.5, 0.6]])}
inputs = processor(images=[image.numpy()], return_tensors="pt")
loss = detector(**inputs, labels=[target]).loss
optimizer = torch.optim.AdamW([p for p in detector.parameters() if p.requires_grad], lr=1e-4)
loss.backward()
optimizer.step()
print(f"loss {loss.item():.3f}")
