"""Training and evaluating torchvision's networks: what the tool calls."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Subset

from resnext_backbones.engine.describe import summary
from resnext_backbones.engine.journal import refuse_earlier_run
from resnext_backbones.engine.processes import agree, is_main_process, rank_and_world_size
from resnext_backbones.engine.seeds import seed_everything
from resnext_backbones.errors import NO_GPU_FOR_FP16, InputError
from resnext_backbones.io import remove_leftovers
from resnext_backbones.tasks.torchvision.data import Data, load_data
from resnext_backbones.tasks.torchvision.loop import (
    Trainer,
    listening,
    stop_if,
    training_loader,
)
from resnext_backbones.tasks.torchvision.network import (
    Network,
    autocast,
    synchronise_norms,
    trunk_of,
)
from resnext_backbones.tasks.torchvision.settings import Settings
from resnext_backbones.tasks.torchvision.state import (
    LOGGER,
    Checkpoints,
    Progress,
    find_checkpoint,
    load_network,
    load_trainer,
    read_checkpoint,
)

METRICS = {True: "coco_metrics", False: "segmentation_metrics"}
"""File of the numbers of a detector, and of a segmentation network."""


def train(settings: Settings, device: torch.device) -> Path:
    """Train, evaluate, and write checkpoints, log and metrics to the work directory.

    Every process of a group calls it; the batch is that of all of them.

    Returns:
        The work directory.

    Raises:
        InputError: data, weights, checkpoint or a setting is wrong, or the loss is not finite.
        WeightsError: the weights do not fit the backbone.
        SystemExit: it was asked to end (SIGTERM) and has saved its state; the status is 143.
    """
    work_dir, path, content = settings.work_dir, None, None
    if work_dir.exists() and not work_dir.is_dir():
        raise InputError(f"--work-dir {work_dir}: is a file; name a folder")
    if settings.resume is None:
        refuse_earlier_run(work_dir)
    elif path := find_checkpoint(work_dir, settings.resume):
        content = read_checkpoint(path)
    agree(str(path or ""), f"--work-dir {work_dir}")
    data = load_data(settings, train=True)
    network = _network(settings, data, content)
    progress = Progress(content["seed"] if content else settings.seed)
    dataset = data.split(network, train=True)
    loader = training_loader(dataset, settings, progress.seed, data.collate, device)
    progress.steps = len(loader)
    seed_everything(progress.seed)
    model = network.build(settings, None if content else settings.source)
    if rank_and_world_size()[1] > 1:
        synchronise_norms(model)
    if content and path:
        load_network(model, content, path)
    amp = _amp(settings, device)
    trainer = Trainer(model.to(device).train(), loader, settings, progress, device=device, amp=amp)
    with _logging(work_dir):
        if is_main_process():
            remove_leftovers(work_dir, "*.pth")
        if content and path:
            load_trainer(trainer, content, path)
        _report(trainer, network, len(data.split(network, train=False)), path)  # type: ignore[arg-type]
        with listening(trainer):
            _train(trainer, network, data)
    return work_dir


def _train(trainer: Trainer, network: Network, data: Data) -> None:
    settings, progress = trainer.settings, trainer.progress
    checkpoints = Checkpoints(
        settings.work_dir, keep=settings.keep, minutes=settings.checkpoint_minutes
    )

    def after_step(ended: bool) -> None:
        due = checkpoints.is_due() and progress.step < progress.steps
        if (ended or due) and is_main_process():  # the state is the same in all processes
            checkpoints.save(trainer, network)
        stop_if(ended)

    while progress.epoch < settings.total_epochs:
        trainer.epoch(after_step)
        if is_main_process():
            checkpoints.save(trainer, network)
        if progress.epoch < settings.total_epochs and progress.epoch % settings.eval_every == 0:
            _evaluate(trainer.model, network, data, settings, trainer.device, write=False)
    _evaluate(trainer.model, network, data, settings, trainer.device, write=True)


def evaluate(settings: Settings, device: torch.device, checkpoint: str) -> dict[str, Any]:
    """Evaluate a checkpoint of `train`: print the table and write it, its numbers and, of a
    detector, what was found.

    Args:
        checkpoint: a path, or `auto` for the newest of the work directory.

    Returns:
        The metrics; nothing but in the first process.

    Raises:
        InputError: the data or the checkpoint is wrong.
        WeightsError: the checkpoint cannot be read.
    """
    path = find_checkpoint(settings.work_dir, checkpoint)
    if path is None:
        raise InputError(f"--eval-only: {settings.work_dir} has no checkpoints; name one")
    content = read_checkpoint(path)
    data = load_data(settings, train=False)
    network = _network(settings, data, content)
    model = network.build(settings)
    load_network(model, content, path)
    with _logging(settings.work_dir):
        LOGGER.info(f"checkpoint: {path}, after {content['epoch']} epochs")
        return _evaluate(model.to(device), network, data, settings, device, write=True)


def _evaluate(
    model: nn.Module,
    network: Network,
    data: Data,
    settings: Settings,
    device: torch.device,
    *,
    write: bool,
) -> dict[str, Any]:
    """Each process takes its share of the images, each of which is counted once."""
    rank, world = rank_and_world_size()
    dataset, scores = data.split(network, train=False), data.scores()
    share: Subset = Subset(dataset, range(rank, len(dataset), world))  # type: ignore[arg-type]
    loader: DataLoader = DataLoader(
        share, batch_size=None, num_workers=settings.workers, collate_fn=None
    )
    amp = _amp(settings, device)
    model.eval()
    with torch.inference_mode():
        for image, target in loader:
            with autocast(amp, device):
                scores.add(model(image.to(device)[None]), target)
    metrics, table = scores.finish()
    if is_main_process():
        LOGGER.info("evaluation\n%s", table)
        if write:
            scores.write(settings.work_dir, METRICS[settings.recipe.detects], metrics, table)
    return metrics


def _network(settings: Settings, data: Data, content: dict[str, Any] | None) -> Network:
    if content is None:
        return Network.of(settings, data.classes)
    network = Network.from_checkpoint(content["network"], settings)
    if network.classes != data.classes:
        raise InputError(
            f"the checkpoint's {len(network.classes)} classes are not the data's "
            f"{len(data.classes)}"
        )
    return network


def _amp(settings: Settings, device: torch.device) -> str | None:
    return None if settings.amp == "fp16" and device.type != "cuda" else settings.amp


def _report(trainer: Trainer, network: Network, num_val: int, path: Path | None) -> None:
    """What the training starts from."""
    settings, progress, model = trainer.settings, trainer.progress, trainer.model
    trunk, batch = trunk_of(model), trainer.batch
    loaded = f"resumed from {path} at step {progress.done}" if path else trunk.loaded_weights
    images = len(trainer.loader.dataset)  # type: ignore[arg-type]
    pixels = f"RGB, mean {network.image_mean}, std {network.image_std}, of 0 to 1"
    for name, value in (
        ("model", f"{network.model}, {len(network.classes)} classes"),
        *summary(trunk, model, pixels),
        ("weights", loaded or f"random: {_random_start(settings, network)}"),
        ("images", f"{images} to train with, {num_val} to evaluate on"),
        (
            "learning rate",
            f"{settings.base_lr(settings.recipe.base_batch):g} for "
            f"{settings.recipe.base_batch} images a step, {settings.base_lr(batch):g} for {batch}",
        ),
        ("steps", f"{progress.steps} an epoch, {settings.total_epochs} epochs"),
    ):
        LOGGER.info(f"{name}: {value}")
    if settings.amp and trainer.amp is None:
        LOGGER.warning(NO_GPU_FOR_FP16)


def _random_start(settings: Settings, network: Network) -> str:
    """Returns who asked for random values, and what is trained that weights would keep."""
    asked = f"--weights {settings.weights}" if settings.weights else "none given (--weights)"
    recipe = settings.recipe
    pairs = {
        "trainable layers": (recipe.trainable_layers, network.trainable_layers),
        "norm": (recipe.norm, network.norm),
    }
    changed = [f"{name} {old} -> {new}" for name, (old, new) in pairs.items() if old != new]
    return f"{asked}: {', '.join(changed)}" if changed else asked


@contextmanager
def _logging(work_dir: Path) -> Iterator[None]:
    """To the screen and to log.txt, from the first process."""
    handlers: list[logging.Handler] = [logging.NullHandler()]
    if is_main_process():
        work_dir.mkdir(parents=True, exist_ok=True)
        handlers = [logging.StreamHandler(sys.stdout), logging.FileHandler(work_dir / "log.txt")]
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        LOGGER.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            LOGGER.removeHandler(handler)
            handler.close()
