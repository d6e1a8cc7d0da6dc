"""Measures what MMEngine's runner, hooks and loader take beside the step, in a real run."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

from mmengine.logging import MessageHub

from resnext_backbones.adapters.registry import MODELS
from resnext_backbones.engine.config import for_training, read_config
from resnext_backbones.tasks.classification.model import ImageClassifier
from resnext_backbones.tasks.classification.run import pretrain, set_data_root

STEP = 0.1
"""Seconds of a step: a small network's, and sleep, as the processor waits while a GPU computes."""

SKIPPED = 10
"""First steps, in which workers start and kernels are chosen."""


@MODELS.register_module()
class TimedClassifier(ImageClassifier):
    """Takes `STEP` seconds for a step, and keeps these with the time of their start."""

    steps: ClassVar[list[tuple[float, float]]] = []

    def train_step(self, *arguments: Any, **options: Any) -> Any:
        """Takes a step of the real network, and waits for the rest of the time."""
        start = time.perf_counter()
        outputs = super().train_step(*arguments, **options)
        time.sleep(max(0, STEP - (time.perf_counter() - start)))
        self.steps.append((start, time.perf_counter()))
        return outputs


def measure(files: list[Path], config: str, *, workers: int, batch: int, steps: int) -> dict:
    """Returns the share of a run that is not the step, between the first and the last one.

    Args:
        files: photographs.
        config: a recipe for ImageNet, of which all but the network is taken.
        batch: images a step, of which the workers are to deliver more than a step takes.

    Returns:
        Among others `overhead`, all of that share, and `waiting`, the part of it in which the next
        batch is taken from the workers. With a GPU a thread does that (`pin_memory`).
    """
    TimedClassifier.steps.clear()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "images"
        for part in ("train", "val"):
            for number in range(2):
                (root / part / str(number)).mkdir(parents=True)
        for i in range(batch * (steps + SKIPPED)):
            (root / "train" / str(i % 2) / f"{i}.jpg").symlink_to(files[i % len(files)].resolve())
        for i in range(2):
            (root / "val" / str(i) / "0.jpg").symlink_to(files[i % len(files)].resolve())
        loaders = [
            f"{part}_dataloader.{option}"
            for part in ("train", "val")
            for option in (f"num_workers={workers}", "pin_memory=False", f"batch_size={batch}")
        ]
        cfg = read_config(
            config,
            [
                *loaders, "model.type=resnext_backbones.TimedClassifier", "model.num_classes=2",
                "train_cfg.max_epochs=1", "log_level=WARNING",
            ],
            work_dir=str(Path(folder) / "run"),
        )  # fmt: skip
        cfg.model.network = {
            "blocks": (1, 1),
            "cardinality": 4,
            "base_width": 1,
            "base_channels": 4,
        }
        cfg.model.data_preprocessor.num_classes = 2
        set_data_root(cfg, str(root))
        for_training(cfg)
        pretrain(cfg)
    waiting = MessageHub.get_current_instance().get_scalar("train/data_time")
    kept = TimedClassifier.steps[SKIPPED:]
    between = len(kept) - 1
    stepping = sum(end - start for start, end in kept)
    whole = kept[-1][1] - kept[0][0]
    return {
        "steps": len(kept),
        "batch": batch,
        "workers": workers,
        "step_seconds": stepping / len(kept),
        "overhead": whole / stepping - 1,
        "waiting": float(waiting.mean(between)) * between / stepping,
    }
