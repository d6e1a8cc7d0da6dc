"""What is about to be trained, in the log before the first step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import nn

from resnext_backbones.engine.describe import is_frozen, summary


class ReportHook(Hook):
    """Logs what the training starts from, once the weights are loaded.

    Args:
        find_backbone: finds the backbone in the model.
        pixels: says of the model's data preprocessor which pixels the backbone sees.
        changed: what was set so that random values can be trained; "" where no one asked for them.
    """

    priority = "VERY_LOW"

    def __init__(
        self,
        find_backbone: Callable[[nn.Module], nn.Module],
        pixels: Callable[[nn.Module], str],
        changed: str = "",
    ) -> None:
        self.find_backbone, self.pixels, self.changed = find_backbone, pixels, changed

    def before_train(self, runner: Any) -> None:
        """Logs the report; random weights are a warning."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        backbone = self.find_backbone(model)
        for name, value in summary(backbone, model, self.pixels(model.data_preprocessor)):
            runner.logger.info(f"{name}: {value}")
        runner.logger.info(f"images: {len(runner.train_dataloader.dataset)} to train with")
        source = weights_source(runner, backbone)
        if source:
            runner.logger.info(f"weights: {source}")
        else:
            keep = "frozen stages keep these random values"
            kept = keep if is_frozen(backbone) else "all of the backbone is trained"
            why = self.changed or "none given (--weights)"
            runner.logger.warning(f"weights: random: {why}; {kept}")
        if warning := unscaled_rate(runner):
            runner.logger.warning(f"learning rate: {warning}")


def unscaled_rate(runner: Any) -> str:
    """Says that the learning rate is for another batch than the real one; '' where it is not."""
    scaling = runner.auto_scale_lr or {}
    base = scaling.get("base_batch_size")
    batch = runner.world_size * runner.train_dataloader.batch_sampler.batch_size
    if scaling.get("enable") or base in (None, batch):
        return ""
    return (
        f"the config's is for {base} images a step, and there are {batch}; "
        "auto_scale_lr.enable=True scales it"
    )


def weights_source(runner: Any, backbone: nn.Module) -> str:
    """Says where the weights came from; '' where they are random."""
    if runner._resume and runner.iter > 0:
        checkpoint = runner._load_from or "the newest checkpoint"
        return f"resumed from {checkpoint} at iteration {runner.iter}"
    if runner._load_from:
        return str(runner._load_from)
    if loaded := getattr(backbone, "loaded_weights", None):
        return str(loaded)
    # MMDetection's own backbones do not say what they loaded, only what they were told to.
    init_cfg = getattr(backbone, "init_cfg", None)
    if isinstance(init_cfg, dict) and init_cfg.get("type") == "Pretrained":
        return str(init_cfg["checkpoint"])
    return ""
