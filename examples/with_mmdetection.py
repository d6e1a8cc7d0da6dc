"""MMDetection's Faster R-CNN on this backbone: a stock config in which one word is another.

python examples/with_mmdetection.py --weights open-mmlab/resnext101_32x4d
"""

import argparse

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.hub import get_config
from mmengine.structures import InstanceData

import resnext_backbones.adapters.openmmlab  # noqa: F401  registers resnext_backbones.ResNeXt
from resnext_backbones.tasks.mmdetection.config import use_weights

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--weights", help="of the backbone: a file, an address or an alias")
args = parser.parse_args()

# A config file says the import with custom_imports, and the rest in the same words.
register_all_modules()
cfg = get_config("mmdet::faster_rcnn/faster-rcnn_x101-32x4d_fpn_1x_coco.py")
cfg.model.backbone.update(type="resnext_backbones.ResNeXt", init_cfg=None)
if args.weights:
    use_weights(cfg, args.weights)  # and the pixels that they expect
detector = MODELS.build(cfg.model)
detector.init_weights()

# One step of training, on one image with one object.
image = torch.randint(0, 256, (3, 256, 320), dtype=torch.uint8)
shape = {"img_shape": (256, 320), "batch_input_shape": (256, 320), "pad_shape": (256, 320)}
sample = DetDataSample(metainfo=shape)
boxes = torch.tensor([[40.0, 60.0, 200.0, 220.0]])
sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([7]))
batch = detector.data_preprocessor({"inputs": [image], "data_samples": [sample]}, training=True)
losses = detector.train()(**batch, mode="loss")
loss, _ = detector.parse_losses(losses)
optimizer = torch.optim.SGD([p for p in detector.parameters() if p.requires_grad], lr=0.02)
loss.backward()
optimizer.step()
print(f"loss {loss.item():.3f}")
