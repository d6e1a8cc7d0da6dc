"""This package is the network, in pure PyTorch."""

from resnext_backbones.models.architecture import Architecture
from resnext_backbones.models.classifier import ResNeXtClassifier
from resnext_backbones.models.layers import Plugin
from resnext_backbones.models.resnext import ResNeXt

__all__ = ["Architecture", "Plugin", "ResNeXt", "ResNeXtClassifier"]
