"""ResNeXt backbones for detection: one trunk and one state dict."""

from resnext_backbones.models import ResNeXt, ResNeXtClassifier
from resnext_backbones.variants import build_backbone, build_classifier, list_variants
from resnext_backbones.weights import load_weights, preprocessing_of

__version__ = "0.1.0"

__all__ = [
    "ResNeXt",
    "ResNeXtClassifier",
    "build_backbone",
    "build_classifier",
    "list_variants",
    "load_weights",
    "preprocessing_of",
]
