"""A checkpoint may have the config of its run, which is read and never run."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from resnext_backbones.weights.preprocessing import Preprocessing


def config_section(content: Mapping[str, Any], name: str) -> Any:
    """Returns an entry of the config in a checkpoint of MMEngine's; None where there is none."""
    meta = content.get("meta")
    return read_section(meta.get("cfg"), name) if isinstance(meta, Mapping) else None


def pixels_in(model: Mapping[str, Any], read_as: str = "BGR") -> Preprocessing | None:
    """Returns the pixels that a model gives its backbone; None where its config does not say.

    Args:
        read_as: the order of its images, which either word turns: `BGR` in MMDetection, `RGB` of
            torchvision's detectors.

    Raises TypeError or ValueError where there are not as many means and standard deviations as
    channels.
    """
    preprocessor = model.get("data_preprocessor") or {}
    mean, std = preprocessor.get("mean"), preprocessor.get("std")
    if mean is None or std is None:
        return None
    turned = preprocessor.get("bgr_to_rgb") or preprocessor.get("rgb_to_bgr")
    order = read_as[::-1] if turned else read_as
    backbone = model.get("backbone") or (model.get("detector") or {}).get("backbone")
    fields = backbone if isinstance(backbone, Mapping) else {}
    channels = fields.get("in_channels", len(read_as))
    if channels == 1:
        order = "grey"
    # One value is of all channels.
    mean, std = (v * channels if len(v) == 1 else v for v in (list(mean), list(std)))
    return Preprocessing(order, tuple(map(float, mean)), tuple(map(float, std)))


def value_at(place: Any, name: str) -> Any:
    """Returns what an entry of a config has by a name with dots, tuples as lists, and OpenMMLab's
    classes, which a config in pure Python names by their modules, by their names; None: nothing.
    """
    for key in name.split("."):
        place = place.get(key) if isinstance(place, Mapping) else None
    if isinstance(place, str) and place.startswith(("mmdet.", "mmcv.")):
        return place.rpartition(".")[2]
    return list(place) if isinstance(place, tuple) else place


def read_section(text: Any, name: str) -> Any:
    """Returns an entry of a config as MMEngine writes it, of which nothing is run; None where there
    is none, or where it is more than names and plain values.
    """
    try:
        for statement in ast.parse(text if isinstance(text, str) else "").body:
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name:
                return _plain(statement.value)
    except (SyntaxError, ValueError):
        pass
    return None


def _plain(node: ast.expr) -> Any:
    """Returns the value of dict(...), of a display, or of a literal; else raises ValueError."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "dict" and not node.args:
        return {str(keyword.arg): _plain(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.List | ast.Tuple):
        return [_plain(element) for element in node.elts]
    if isinstance(node, ast.Dict):
        keys = [ast.literal_eval(key) for key in node.keys if key is not None]
        return dict(zip(keys, map(_plain, node.values), strict=True))
    return ast.literal_eval(node)
