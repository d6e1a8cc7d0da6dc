"""Weights: read from files without running code, checked key by key, and loaded."""

from resnext_backbones.weights.load import LoadedWeights, WeightsError, load_state, load_weights

__all__ = ["LoadedWeights", "WeightsError", "load_state", "load_weights"]
