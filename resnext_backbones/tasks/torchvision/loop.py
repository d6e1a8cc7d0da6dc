"""The training loop: one for detectors and segmentation networks, one process or many."""

from __future__ import annotations

import datetime
import math
import signal
import time
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn
from torch.amp import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from resnext_backbones.engine.journal import TERMINATED
from resnext_backbones.engine.processes import rank_and_world_size, share_batches_by_name
from resnext_backbones.engine.seeds import reproducible, seed_everything, seed_of
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.torchvision.network import autocast, losses, parameter_groups
from resnext_backbones.tasks.torchvision.settings import Settings
from resnext_backbones.tasks.torchvision.state import LOGGER, Progress

MOMENTUM, WEIGHT_DECAY = 0.9, 1e-4


class Trainer:
    """A network, its optimiser, and how far they are.

    Args:
        model: on the device.
        loader: of `training_loader`.
        amp: `bf16`, `fp16` or None.

    Attributes:
        model: the network itself, also where several processes train it.
        batch: images a step, over all processes.
        asked: whether this process was asked to end; all of them do after the next step.
    """

    def __init__(
        self,
        model: nn.Module,
        loader: DataLoader,
        settings: Settings,
        progress: Progress,
        *,
        device: torch.device,
        amp: str | None,
    ) -> None:
        self.model, self.loader, self.settings, self.progress = model, loader, settings, progress
        self.device, self.amp = device, amp
        self.asked = False
        self.rank, world = rank_and_world_size()
        self.batch = settings.batch_size * world
        self.optimizer = SGD(
            parameter_groups(model), lr=0.0, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
        )
        self.scaler = GradScaler(device.type, enabled=amp == "fp16")
        self.wrapped = model
        if world > 1:
            ids = [device] if device.type == "cuda" else None
            self.wrapped = DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)

    def epoch(self, after_step: Callable[[bool], None]) -> None:
        """One epoch, or what is left of it.

        Args:
            after_step: is called with whether a process was asked to end.

        Raises:
            InputError: the loss is not finite, or an image cannot be read.
        """
        progress = self.progress
        batches = cast(Any, self.loader.batch_sampler)
        batches.first = progress.step
        batches.sampler.set_epoch(progress.epoch)
        self.model.train()
        begun = time.monotonic()
        for images, targets in self.loader:
            means = self._step(images, targets)
            ended = means.pop(_ENDED) > 0
            self._log(means, time.monotonic() - begun)
            after_step(ended)
            begun = time.monotonic()
        progress.epoch, progress.step = progress.epoch + 1, 0

    def _step(self, images: Any, targets: Any) -> dict[str, float]:
        progress = self.progress
        seed_everything(seed_of(progress.seed, progress.done, self.rank))
        self.lr = self.settings.lr_at(progress.done, progress.steps, self.batch)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * group["scale"]
        images, targets = _moved(images, self.device), _moved(targets, self.device)
        with autocast(self.amp, self.device):
            found = losses(self.wrapped, images, targets)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(torch.stack(list(found.values())).sum()).backward()
        # A GPU is busy with the backward pass while this waits for the losses.
        means = _means({**found, _ENDED: images[0].new_full((), float(self.asked))})
        self._check_finite(means)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        progress.step += 1
        return means

    def _check_finite(self, means: dict[str, float]) -> None:
        if not math.isfinite(sum(means.values())):
            listed = ", ".join(f"{k} {v:.4g}" for k, v in means.items() if k != _ENDED)
            raise InputError(
                f"epoch {self.progress.epoch + 1}, step {self.progress.step + 1}: the loss is not "
                f"finite ({listed}) at a learning rate of {self.lr:.4g}; go on from the last "
                "checkpoint with --resume and a lower --lr, or with --amp bf16 in place of fp16"
            )

    def _log(self, means: dict[str, float], seconds: float) -> None:
        progress, total = self.progress, self.settings.total_epochs
        if progress.step % self.settings.log_every and progress.step != progress.steps:
            return
        left = datetime.timedelta(seconds=round(seconds * (total * progress.steps - progress.done)))
        listed = "".join(f" {name} {value:.4f}" for name, value in means.items())
        LOGGER.info(
            f"epoch {progress.epoch + 1}/{total} step {progress.step}/{progress.steps} "
            f"lr {self.lr:.3g} total {sum(means.values()):.4f}{listed} "
            f"{seconds:.2f} s/step eta {left}"
        )


_ENDED = "ended"
"""Travels with the losses: whether a process was asked to end."""


def training_loader(
    dataset: Dataset, settings: Settings, seed: int, collate: Any, device: torch.device
) -> DataLoader:
    """Batches of whole size, whose samples depend on the seed, the epoch and their index alone.

    Raises:
        InputError: there are fewer images than a step takes.
    """
    rank, world = rank_and_world_size()
    batch, number = settings.batch_size * world, len(cast(Sized, dataset))
    if number < batch:
        raise InputError(
            f"--batch-size {settings.batch_size}: a step takes {batch} images, and there are "
            f"{number} to train with"
        )
    loader: DataLoader = DataLoader(
        dataset,
        batch_size=settings.batch_size,
        sampler=DistributedSampler(dataset, world, rank, seed=seed),
        drop_last=True,
        num_workers=settings.workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
    )
    share_batches_by_name()
    return reproducible(loader, seed)


def stop_if(ended: bool) -> None:
    """End a run that was asked to.

    Raises:
        SystemExit: with `TERMINATED`.
    """
    if ended:
        LOGGER.warning("terminated; go on with --resume")
        raise SystemExit(TERMINATED)


def _means(values: dict[str, Tensor]) -> dict[str, float]:
    """Over the processes."""
    stacked = torch.stack([value.detach().float() for value in values.values()])
    world = rank_and_world_size()[1]
    if world > 1:
        distributed.all_reduce(stacked)
    return dict(zip(values, (stacked / world).tolist(), strict=True))


def _moved(value: Any, device: torch.device) -> Any:
    """Tensors, also in lists and dicts, on the device."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    return [_moved(item, device) for item in value] if isinstance(value, list) else value


@contextmanager
def listening(trainer: Trainer) -> Iterator[None]:
    """Where SIGTERM ends a run after a step, and not at once."""

    def ask(*_: object) -> None:
        trainer.asked = True

    before = signal.signal(signal.SIGTERM, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
