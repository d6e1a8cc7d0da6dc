"""What the run that wrote a checkpoint gave its network, beside what a config gives it."""

from __future__ import annotations

import ast
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from mmengine.logging import print_log

from resnext_backbones.errors import InputError

Given = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Returns what counts of the config of a model, by the names that messages have for it."""


def unlike_its_run(
    model: Mapping[str, Any],
    checkpoint: str,
    meta: Mapping[str, Any],
    given: Given,
    *,
    to_resume: bool,
) -> Iterator[str]:
    """Yields what a config gives a network that the run which wrote a checkpoint did not.

    `--weights` sets pixels and may unfreeze, of which the config alone does not know. Of a
    checkpoint without its config, which MMEngine's have, nothing is known.

    Args:
        model: of the config.
        checkpoint: its name, for the messages.
        meta: the checkpoint's.
        given: what is compared.
        to_resume: the message says how the run could go on.
    """
    written = read_model(meta.get("cfg"))
    if written is None:
        return
    again = "give the options that it began with, such as --weights, or " if to_resume else ""
    then, now = given(written), given(model)
    for what, has in now.items():
        had = then.get(what)
        if had is not None and has is not None and had != has:
            yield (
                f"checkpoint {checkpoint}: its run had {what} {had}, and the config has {has}; "
                f"{again}take the config that it wrote beside its checkpoints"
            )


def go_on(problems: Iterable[str], *, allow_mismatch: bool) -> None:
    """Lets a run go on where nothing is unlike what it began with.

    Args:
        problems: of `unlike_its_run`.
        allow_mismatch: log them as warnings, and go on.

    Raises:
        InputError: there is one.
    """
    for problem in problems:
        if not allow_mismatch:
            raise InputError(f"{problem}; pass --allow-mismatch to go on anyway")
        print_log(problem, logger="current", level=logging.WARNING)


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
