"""timm's classifier, and the maps for a detector, from one file of weights.

python examples/with_timm.py --weights torchvision/resnext50_32x4d.v2
"""

import argparse

import timm
import torch
from timm.data import create_transform, resolve_data_config
from torchvision.transforms.functional import to_pil_image

import resnext_backbones.adapters.timm  # noqa: F401  registers the names

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--weights", help="of the backbone: a file, an address or an alias")
parser.add_argument("--variant", default="resnext50_32x4d", help="default %(default)s")
args = parser.parse_args()

name = f"resnext_backbones_{args.variant}"
options = {"pretrained": True, "pretrained_cfg_overlay": {"file": args.weights}}
options = options if args.weights else {}

# One step of training a classifier of ten classes, on one image.
model = timm.create_model(name, num_classes=10, frozen_stages=1, norm_eval=True, **options)
transform = create_transform(**resolve_data_config(model=model), is_training=True)
image = transform(to_pil_image(torch.rand(3, 256, 320)))
loss = torch.nn.functional.cross_entropy(model.train()(image[None]), torch.tensor([7]))
loss.backward()
torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.02).step()
print(f"loss {loss.item():.3f}")

features = timm.create_model(name, features_only=True, out_indices=(1, 2, 3, 4), **options)
print([tuple(m.shape) for m in features(image[None])])
