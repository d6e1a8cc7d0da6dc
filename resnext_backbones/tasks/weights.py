"""The weights of a backbone in a config of MMEngine's, and the pixels that they expect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from functools import partial
from typing import Any

from resnext_backbones.engine.fit import NONE, WeightsUse, are_fused, known_pixels
from resnext_backbones.weights import Preprocessing


def given_pixels(model: Mapping[str, Any], read_as: str) -> Preprocessing | None:
    """Returns the pixels that a model gives its backbone; None where its config does not say.

    Args:
        read_as: RGB or BGR, the order that images are read in.
    """
    preprocessor = model.get("data_preprocessor") or {}
    mean, std = preprocessor.get("mean"), preprocessor.get("std")
    if mean is None or std is None:
        return None
    turned = preprocessor.get("bgr_to_rgb") or preprocessor.get("rgb_to_bgr")
    order = read_as[::-1] if turned else read_as
    return Preprocessing(order, tuple(map(float, mean)), tuple(map(float, std)))


def give_pixels(model: MutableMapping[str, Any], source: str | None, read_as: str) -> None:
    """Sets the pixels that weights expect in a model's `data_preprocessor`, if these are known;
    InputError or WeightsError: there is no such file or alias. No alias is downloaded.
    """
    if source and (pixels := known_pixels(source)):
        model.setdefault("data_preprocessor", {}).update(
            mean=list(pixels.mean),
            std=list(pixels.std),
            bgr_to_rgb=(read_as, pixels.order) == ("BGR", "RGB"),
            rgb_to_bgr=(read_as, pixels.order) == ("RGB", "BGR"),
        )


def said_of_none(changes: Iterable[str]) -> str:
    """Returns what the log says of `--weights none`."""
    return f"--weights {NONE}: {', '.join(changes) or 'as the config has it'}"


def use_of_source(source: str | None, given: Preprocessing | None, **settings: Any) -> WeightsUse:
    """Returns what a model does with its backbone's weights; raises as `give_pixels`.

    Args:
        given: the pixels that its `data_preprocessor` gives them.
        settings: the other attributes of `WeightsUse`.
    """
    wanted = known_pixels(source) if source else None
    fused = partial(are_fused, source)
    return WeightsUse(source, wanted, given, "data_preprocessor", **settings, fused=fused)
