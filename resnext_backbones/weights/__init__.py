"""Weights: read from files without running code, checked key by key, and loaded."""

from typing import TYPE_CHECKING

from resnext_backbones.on_demand import names_on_demand
from resnext_backbones.weights.errors import WeightsError
from resnext_backbones.weights.preprocessing import Preprocessing

if TYPE_CHECKING:
    from resnext_backbones.weights.load import LoadedWeights, load_state, load_weights
    from resnext_backbones.weights.recorded import preprocessing_of

__all__ = [
    "LoadedWeights",
    "Preprocessing",
    "WeightsError",
    "load_state",
    "load_weights",
    "preprocessing_of",
]

__getattr__ = names_on_demand(
    __name__,
    {
        "LoadedWeights": "load",
        "load_state": "load",
        "load_weights": "load",
        "preprocessing_of": "recorded",
    },
)
