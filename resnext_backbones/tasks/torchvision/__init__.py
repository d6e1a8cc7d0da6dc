"""Training and evaluating torchvision's detectors and segmentation networks, without MMEngine."""

from resnext_backbones.tasks.torchvision.run import evaluate, train
from resnext_backbones.tasks.torchvision.settings import Settings

__all__ = ["Settings", "evaluate", "train"]
