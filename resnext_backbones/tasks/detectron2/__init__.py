"""Detectron2's engine trains and evaluates here: `resnext train-detectron2` calls it.

Raises:
    ImportError: Detectron2 is not installed, or too old; the message says how to install it.
"""

from resnext_backbones.adapters.detectron2 import ResNeXtBackbone
from resnext_backbones.tasks.detectron2.experiments import use_weights
from resnext_backbones.tasks.detectron2.run import Request, run
from resnext_backbones.tasks.detectron2.zoo import networks_of, variants_of

__all__ = ["Request", "ResNeXtBackbone", "networks_of", "run", "use_weights", "variants_of"]
