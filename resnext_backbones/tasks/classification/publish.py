"""A checkpoint of a run becomes one file of weights that says what it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import Hook

from resnext_backbones.adapters.registry import HOOKS
from resnext_backbones.engine.checkpoints import read_journal
from resnext_backbones.engine.checks.network import read_checkpoint
from resnext_backbones.engine.checks.outputs import check_folder
from resnext_backbones.engine.config import run_name
from resnext_backbones.engine.hooks import reported
from resnext_backbones.engine.provenance import commit
from resnext_backbones.errors import InputError
from resnext_backbones.io import atomic_write_text, flush
from resnext_backbones.variants import VARIANTS
from resnext_backbones.weights import Preprocessing
from resnext_backbones.weights.cards import model_card
from resnext_backbones.weights.checkpoint import Checkpoint
from resnext_backbones.weights.download import hash_of
from resnext_backbones.weights.publishers import WHOLE, Crop
from resnext_backbones.weights.recorded import CLASS_NAMES, CROP
from resnext_backbones.weights.write import write_state

FACTS = "facts"  # in a checkpoint's meta: how its weights came about


@HOOKS.register_module()
class PublishHook(Hook):
    """Writes into checkpoints what `publish` needs, and publishes the last one."""

    priority = "LOWEST"

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Adds the facts, as a safetensors file says them."""
        cfg, network = runner.cfg, getattr(runner.model, "module", runner.model).network
        pixels = cfg.model.data_preprocessor
        names = runner.train_dataloader.dataset.metainfo["classes"]
        checkpoint["meta"][FACTS] = {
            **network.presupposed().to_metadata(),
            **Preprocessing("RGB", tuple(pixels.mean), tuple(pixels.std)).to_metadata(),
            CROP: crop_text(cfg),
            "recipe": run_name(cfg),
            "data_set": Path(cfg.get("data_root", "unknown")).name,
            "classes": str(cfg.model.num_classes),
            **class_names(names),
            "epochs": str(runner.max_epochs),
            "commit": commit(Path(__file__).parent) or "unknown",
        }

    @master_only
    def after_train(self, runner: Any) -> None:
        if journal := read_journal(Path(runner.work_dir)):
            with reported(runner, "the published weights (`resnext publish` makes them)"):
                path = publish(Path(runner.work_dir) / journal[-1].file)
                runner.logger.info(f"published: {path}")


def class_names(names: Sequence[str]) -> dict[str, str]:
    """Returns names by label as a checkpoint says them; nothing where they are the labels alone."""
    unnamed = all(name == str(label) for label, name in enumerate(names))
    return {} if unnamed else {CLASS_NAMES: json.dumps(names)}


def crop_text(cfg: Any) -> str:
    """Returns what the evaluation cuts out of an image, as JSON: the arguments of `Crop`, or
    `whole` where images stay as they are.
    """
    steps = cfg.val_dataloader.dataset.get("pipeline", ())
    for step in steps:
        if step["type"] == "resnext_backbones.CenterCrop":
            given = {name: step[name] for name in Crop._fields if name in step}
            return json.dumps(Crop(**given)._asdict())
    return json.dumps(WHOLE)


def publish(checkpoint: str | Path, out_dir: str | Path | None = None) -> Path:
    """Writes the weights of a checkpoint as NAME-HASH.safetensors, and a model card beside it; into
    its own folder where none is given. Raises InputError where it is none of a pretraining run.

    The name is the variant's, or the recipe's where the network is none of the variants. Where the
    run averaged its weights, the averaged ones are written.
    """
    checkpoint = Path(checkpoint)
    folder = checkpoint.parent if out_dir is None else Path(out_dir)
    check_folder("--out", folder)
    content = read_checkpoint(checkpoint)
    meta = content.get("meta")
    if not isinstance(meta, Mapping) or FACTS not in meta:
        raise InputError(f"checkpoint {checkpoint}: was not written by `resnext pretrain`")
    found = Checkpoint.of(content)
    measured = {entry.file: entry.metrics for entry in read_journal(checkpoint.parent)}
    metadata = {
        "variant": found.variant,
        "norms": "trained",
        **meta[FACTS],
        "epoch": str(meta["epoch"]),
        **{k: f"{v:.4f}" for k, v in measured.get(checkpoint.name, {}).items() if v is not None},
    }
    folder.mkdir(parents=True, exist_ok=True)
    name = found.variant if found.variant in VARIANTS else meta[FACTS]["recipe"]
    with TemporaryDirectory(prefix=".publish-", dir=folder) as apart:
        written = Path(apart) / "weights.safetensors"
        write_state(found.state, written, "safetensors", metadata)
        path = written.replace(folder / f"{name}-{hash_of(written)[:8]}.safetensors")
    flush(folder)
    # A card does without so many names.
    shown = {key: value for key, value in metadata.items() if key != CLASS_NAMES}
    if not path.with_suffix(".md").exists():  # one of the same weights may have a licence by now
        atomic_write_text(path.with_suffix(".md"), card(path.name, shown))
    return path


def card(file: str, metadata: Mapping[str, str]) -> str:
    """Returns a model card, as the Hugging Face Hub shows it; the licence is for others to add."""
    variant, model = metadata["variant"], "...  # the network of the recipe"
    if variant in VARIANTS:
        model = f'build_classifier("{variant}", num_classes={metadata["classes"]})'
    top1 = metadata.get("accuracy/top1")
    loads = f"""from resnext_backbones import build_classifier, load_weights

model = {model}
load_weights(model, "{file}")

# resnext train CONFIG --weights {file}"""
    return model_card(
        variant,
        metadata,
        loads,
        classifies=True,
        data_set=metadata["data_set"],
        top1=None if top1 is None else round(100 * float(top1), 2),
    ).content
