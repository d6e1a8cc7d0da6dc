"""What the run that wrote a checkpoint gave its backbone, beside what a config gives it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from resnext_backbones.tasks.mmdetection.config import backbone_of
from resnext_backbones.tasks.mmdetection.weights import given_pixels

TRAINED = ("frozen_stages", "norm_eval")
"""Arguments of a backbone that say which of its values change in training."""


def unlike_its_run(
    cfg: Config, checkpoint: str, meta: Mapping[str, Any], *, to_resume: bool
) -> Iterator[str]:
    """Yields what a config gives a backbone that the run which wrote a checkpoint did not.

    `--weights` sets pixels and may unfreeze, of which the config alone does not know. Of a
    checkpoint without its config, which MMEngine's have, nothing is known.

    Args:
        checkpoint: its name, for the messages.
        meta: the checkpoint's.
        to_resume: what is trained counts as well.
    """
    model = read_model(meta.get("cfg"))
    if model is None:
        return
    pairs: list[tuple[str, Any, Any]] = [("pixels", given_pixels(model), given_pixels(cfg.model))]
    if to_resume:
        then, now = backbone_of(model), backbone_of(cfg.model)
        pairs += [(key, then.get(key), now.get(key)) for key in TRAINED]
    again = "give the options that it began with, such as --weights, or "
    for what, had, has in pairs:
        if had is not None and has is not None and had != has:
            yield (
                f"checkpoint {checkpoint}: its run had {what} {had}, and the config has {has}; "
                f"{again if to_resume else ''}take the config that it wrote beside its checkpoints"
            )


def read_model(text: Any) -> dict[str, Any] | None:
    """Reads `model` out of a config as MMEngine writes it; nothing of the text is run.

    Returns:
        None where there is no such text, or where it is more than names and plain values.
    """
    try:
        for statement in ast.parse(text if isinstance(text, str) else "").body:
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "model":
                return _plain(statement.value)
    except (SyntaxError, ValueError):
        pass
    return None


def _plain(node: ast.expr) -> Any:
    """Returns the value of dict(...), of a display, or of a literal.

    Raises:
        ValueError: it is anything else.
    """
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "dict" and not node.args:
        return {str(keyword.arg): _plain(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.List | ast.Tuple):
        return [_plain(element) for element in node.elts]
    if isinstance(node, ast.Dict):
        keys = [ast.literal_eval(key) for key in node.keys if key is not None]
        return dict(zip(keys, map(_plain, node.values), strict=True))
    return ast.literal_eval(node)
