"""What a run says before its first step, and what it stops at."""

from __future__ import annotations

import math
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from resnext_backbones.adapters.registry import HOOKS
from resnext_backbones.runs.errors import InputError
from resnext_backbones.weights.checkpoint import variant_of


@HOOKS.register_module()
class ClassesHook(Hook):
    """Stops a run whose images and head do not tell the same classes apart."""

    priority = "VERY_HIGH"

    def before_train(self, runner: Any) -> None:
        """Compare them.

        Raises:
            InputError: they differ.
        """
        train, val = (
            loader.dataset.metainfo["classes"]
            for loader in (runner.train_dataloader, runner.val_dataloader)
        )
        if train != val:
            lost = sorted(set(train) ^ set(val)) or "the same ones in another order"
            raise InputError(
                f"the images to train on and to evaluate with differ in classes: {lost}"
            )
        count = runner.cfg.model.num_classes
        if len(train) != count:
            raise InputError(
                f"the images have {len(train)} classes, and model.num_classes is {count}; set it "
                "with --cfg-options"
            )


@HOOKS.register_module()
class BrokenImagesHook(Hook):
    """Names images that could not be read, and stops where there are too many.

    Args:
        limit: share of the images that may be broken.
    """

    def __init__(self, limit: float = 0.001) -> None:
        self.limit = limit
        self.names: set[str] = set()

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
    ) -> None:
        """Log what is broken in the batch.

        Raises:
            InputError: more than the limit are.
        """
        found = {name for text in data_batch.get("broken", ()) for name in text.split("\n") if name}
        for name in sorted(found - self.names):
            runner.logger.warning(f"image {name}: cannot be read; another one is taken")
        self.names |= found
        count = len(runner.train_dataloader.dataset)
        if len(self.names) > self.limit * count / get_world_size():
            raise InputError(
                f"{len(self.names)} of {count} images cannot be read, the last one {max(found)}: "
                f"more than {self.limit:.2%}; mend them, or raise the limit of BrokenImagesHook"
            )

    def after_train_epoch(self, runner: Any) -> None:
        """Log how many there are so far."""
        if self.names:
            runner.logger.warning(f"{len(self.names)} images could not be read so far")


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stops a run whose loss is NaN or infinite, before anything of it is saved."""

    priority = "HIGH"

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
    ) -> None:
        """Look at the loss of the step.

        Raises:
            InputError: it is not finite.
        """
        if not math.isfinite(loss := outputs["loss"].item()):
            raise InputError(
                f"the loss of step {runner.iter + 1} is {loss}: lower the learning rate or clip "
                "the gradients; the checkpoints are from before, and --resume takes the last one"
            )


@HOOKS.register_module()
class PretrainingReportHook(Hook):
    """Logs what is trained, on what, and by which learning rate."""

    priority = "VERY_LOW"

    def before_train(self, runner: Any) -> None:
        """Log it."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        loader, ranks = runner.train_dataloader, get_world_size()
        batch = loader.batch_sampler.batch_size
        count = sum(parameter.numel() for parameter in model.parameters())
        groups = runner.optim_wrapper.param_groups  # warm-up has begun in `lr`
        rates = sorted({group.get("initial_lr", group["lr"]) for group in groups})
        for name, value in (
            ("network", variant_of(model.network.state_dict())),
            ("parameters", f"{count / 1e6:.2f} M"),
            ("classes", len(loader.dataset.metainfo["classes"])),
            (
                "images",
                f"{len(loader.dataset)} to train on, "
                f"{len(runner.val_dataloader.dataset)} to evaluate with",
            ),
            ("batch", f"{batch * ranks}: {batch} in each of {ranks} processes"),
            ("learning rate", ", ".join(f"{rate:.4g}" for rate in rates)),
        ):
            runner.logger.info(f"{name}: {value}")
