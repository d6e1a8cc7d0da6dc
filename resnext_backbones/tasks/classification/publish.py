"""From a checkpoint of a run to one file of weights that says what it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

import resnext_backbones
from resnext_backbones.adapters.registry import HOOKS
from resnext_backbones.engine.journal import read_journal
from resnext_backbones.engine.logs import reported
from resnext_backbones.engine.networks import run_name
from resnext_backbones.engine.provenance import commit
from resnext_backbones.errors import InputError
from resnext_backbones.io import atomic_write_text
from resnext_backbones.variants import VARIANTS
from resnext_backbones.weights import Preprocessing
from resnext_backbones.weights.checkpoint import Checkpoint
from resnext_backbones.weights.download import hash_of
from resnext_backbones.weights.files import read_file
from resnext_backbones.weights.write import write_state

FACTS = "facts"
"""Where a checkpoint's meta says how its weights came about."""


@HOOKS.register_module()
class PublishHook(Hook):
    """Writes into checkpoints what `publish` needs, and publishes the last one."""

    priority = "LOWEST"

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Add the facts."""
        checkpoint["meta"][FACTS] = facts(runner)

    @master_only
    def after_train(self, runner: Any) -> None:
        """Publish the checkpoint of the last epoch."""
        if journal := read_journal(Path(runner.work_dir)):
            with reported(runner, "the published weights (`resnext publish` makes them)"):
                path = publish(Path(runner.work_dir) / journal[-1].file)
                runner.logger.info(f"published: {path}")


def facts(runner: Any) -> dict[str, str]:
    """How the weights of a run come about, as a safetensors file says it."""
    cfg = runner.cfg
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    pixels = cfg.model.data_preprocessor
    return {
        **model.network.architecture.to_metadata(),
        **Preprocessing("RGB", tuple(pixels.mean), tuple(pixels.std)).to_metadata(),
        "recipe": run_name(cfg),
        "data_set": Path(cfg.get("data_root", "unknown")).name,
        "classes": str(cfg.model.num_classes),
        "epochs": str(runner.max_epochs),
        "commit": commit(Path(resnext_backbones.__file__).parent) or "unknown",
    }


def publish(checkpoint: str | Path, out_dir: str | Path | None = None) -> Path:
    """Write the weights of a checkpoint as NAME-HASH.safetensors, and a model card beside it.

    The name is the variant's, or the recipe's where the network is none of the variants. Where the
    run averaged its weights, the averaged ones are written.

    Args:
        out_dir: None is the checkpoint's folder.

    Raises:
        InputError: there is no such checkpoint, or it is none of a pretraining run.
        WeightsError: it cannot be read.
    """
    checkpoint = Path(checkpoint)
    if not checkpoint.is_file():
        raise InputError(f"checkpoint {checkpoint}: there is no such file")
    content = read_file(checkpoint)
    meta = content.get("meta")
    if not isinstance(meta, Mapping) or FACTS not in meta:
        raise InputError(f"checkpoint {checkpoint}: was not written by `resnext pretrain`")
    found = Checkpoint.of(content)
    metadata = {
        "variant": found.variant,
        "norms": "trained",
        **meta[FACTS],
        "epoch": str(meta["epoch"]),
        **{name: f"{value:.4f}" for name, value in _metrics(checkpoint).items()},
    }
    folder = Path(out_dir) if out_dir is not None else checkpoint.parent
    folder.mkdir(parents=True, exist_ok=True)
    name = found.variant if found.variant in VARIANTS else meta[FACTS]["recipe"]
    path = folder / f"{name}.safetensors"
    write_state(found.state, path, "safetensors", metadata)
    path = path.replace(folder / f"{name}-{hash_of(path)[:8]}.safetensors")
    atomic_write_text(path.with_suffix(".md"), card(path, metadata))
    return path


def _metrics(checkpoint: Path) -> dict[str, float]:
    """What the checkpoint's run measured with it; nothing where its journal is not there."""
    entries = [entry for entry in read_journal(checkpoint.parent) if entry.file == checkpoint.name]
    return dict(entries[-1].metrics) if entries else {}


def card(path: Path, metadata: Mapping[str, str]) -> str:
    """A model card, as the Hugging Face Hub shows it."""
    rows = "\n".join(f"| {name} | {value} |" for name, value in metadata.items())
    variant, classes = metadata["variant"], metadata["classes"]
    model = "...  # the network of the recipe"
    if variant in VARIANTS:
        model = f'build_classifier("{variant}", num_classes={classes})'
    return f"""---
library_name: resnext_backbones
tags: [image-classification, image-feature-extraction, resnext]
---

# {variant}

| | |
| --- | --- |
{rows}

```python
from resnext_backbones import build_classifier, load_weights

model = {model}
load_weights(model, "{path.name}")
```

    resnext train CONFIG --weights {path.name}
"""
