"""A checkpoint has the config of its run, which is read and never run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from resnext_backbones.weights.configs import read_section


def unlike_its_run(
    model: Mapping[str, Any],
    checkpoint: str,
    meta: Mapping[str, Any],
    given: Callable[..., Mapping[str, Any]],
    *,
    to_resume: bool,
) -> Iterator[str]:
    """Yields what a config gives a network that the run which wrote a checkpoint did not.

    `--weights` sets pixels and may unfreeze, of which the config alone does not know. Of a
    checkpoint without its config, which MMEngine's have, nothing is known.

    Args:
        model, checkpoint, meta: the config's, its name, and what it says of its run.
        given: returns what is compared of a model's config, by the names that messages have for it;
            it is told whether it is `to_resume`.
        to_resume: the message says how the run could go on.
    """
    written = read_section(meta.get("cfg"), "model")
    if written is None:
        return
    again = "give the options that it began with, such as --weights, or " if to_resume else ""
    then, now = (given(each, to_resume=to_resume) for each in (written, model))
    for what, has in now.items():
        had = then.get(what)
        if had is not None and has is not None and had != has:
            yield (
                f"checkpoint {checkpoint}: its run had {what} {had}, and the config has {has}; "
                f"{again}take the config that it wrote beside its checkpoints"
            )
