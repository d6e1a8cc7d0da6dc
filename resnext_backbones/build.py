"""Builds networks by name, with weights or without."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from resnext_backbones.models import ResNeXt, ResNeXtClassifier
from resnext_backbones.models.architecture import FIELDS, Architecture
from resnext_backbones.variants import architecture_of
from resnext_backbones.weights.load import load_weights

Network = TypeVar("Network", bound=ResNeXt)


def build_backbone(
    name: str,
    *,
    weights: str | Path | None = None,
    adapt_input: str | None = None,
    **options: Any,
) -> ResNeXt:
    """Returns the trunk of a variant.

    Args:
        name: of `list_variants()`.
        weights: any source of `load_weights`; None draws new ones.
        adapt_input: as of `load_weights`, for another number of `in_channels` than the weights'.
        options: of `ResNeXt`, and fields of `Architecture` in which the network differs.

    Raises:
        ValueError: the name is unknown, an option is out of its range, or it is one that the
            name settles.
        FileNotFoundError, WeightsError: as `load_weights`.
    """
    architecture, rest = architecture_and_options(str(name), options)
    return _loaded(ResNeXt(architecture, **rest), weights, adapt_input)


def build_classifier(
    name: str,
    *,
    num_classes: int = 1000,
    weights: str | Path | None = None,
    adapt_input: str | None = None,
    **options: Any,
) -> ResNeXtClassifier:
    """Returns the classifier of a variant; arguments and errors as of `build_backbone`."""
    architecture, rest = architecture_and_options(str(name), options)
    network = ResNeXtClassifier(architecture, num_classes=num_classes, **rest)
    return _loaded(network, weights, adapt_input)


def architecture_and_options(
    name: str | None, options: dict[str, Any]
) -> tuple[Architecture, dict[str, Any]]:
    """Returns the architecture that a name and fields among the options describe, and the rest.
    Raises ValueError where neither a name nor blocks are given, or as `architecture_of`.
    """
    changes = {key: value for key, value in options.items() if key in FIELDS}
    rest = {key: value for key, value in options.items() if key not in FIELDS}
    if name is not None:
        return architecture_of(name, **changes), rest
    if "blocks" not in changes:
        raise ValueError("a network must have the name of a variant, or blocks")
    return Architecture(**changes), rest


def _loaded(network: Network, weights: str | Path | None, adapt_input: str | None) -> Network:
    if weights is not None:
        load_weights(network, weights, adapt_input=adapt_input)
    return network
