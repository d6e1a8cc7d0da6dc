"""What the run that wrote a checkpoint gave its backbone, beside what a config gives it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from resnext_backbones.engine import fit
from resnext_backbones.tasks.mmdetection.config import backbone_of
from resnext_backbones.tasks.mmdetection.weights import given_pixels

TRAINED = ("frozen_stages", "norm_eval")
"""Arguments of a backbone that say which of its values change in training."""


def unlike_its_run(
    cfg: Config, checkpoint: str, meta: Mapping[str, Any], *, to_resume: bool
) -> Iterator[str]:
    """As `engine.fit.unlike_its_run`: pixels count, and to resume what is trained as well."""

    def given(model: Mapping[str, Any]) -> dict[str, Any]:
        backbone = backbone_of(model) if to_resume else {}
        trained = {key: backbone.get(key) for key in TRAINED} if to_resume else {}
        return {"pixels": given_pixels(model), **trained}

    return fit.unlike_its_run(cfg.model, checkpoint, meta, given, to_resume=to_resume)
