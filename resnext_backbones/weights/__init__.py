"""Weights: read from files without running code, checked key by key, and loaded."""

from resnext_backbones.weights.files import WeightsError
from resnext_backbones.weights.load import LoadedWeights, load_state, load_weights
from resnext_backbones.weights.preprocessing import Preprocessing
from resnext_backbones.weights.sources import preprocessing_of

__all__ = [
    "LoadedWeights",
    "Preprocessing",
    "WeightsError",
    "load_state",
    "load_weights",
    "preprocessing_of",
]
