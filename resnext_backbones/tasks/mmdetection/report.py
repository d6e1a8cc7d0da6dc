"""What is about to be trained, in the log before the first step."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import nn

from resnext_backbones.engine.describe import is_frozen, summary
from resnext_backbones.mmcv_ops import OPERATORS, check_operators


class ReportHook(Hook):
    """Logs what the training starts from, once the weights are loaded.

    Args:
        changed: what was set so that random values can be trained; "" where no one asked for them.
    """

    priority = "VERY_LOW"

    def __init__(self, changed: str = "") -> None:
        self.changed = changed

    def before_run(self, runner: Any) -> None:
        """Check that the detector finds its operators, while nothing has been computed yet.

        Raises:
            OperatorAbsent: it does not; the message names them.
        """
        check_operators(runner.model, OPERATORS.has)

    def before_train(self, runner: Any) -> None:
        """Log the report; random weights are a warning."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        backbone = find_backbone(model)
        for name, value in summary(backbone, model, pixels(model.data_preprocessor)):
            runner.logger.info(f"{name}: {value}")
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
    """That the learning rate is for another batch than the real one; '' where it is not."""
    scaling = runner.auto_scale_lr or {}
    base = scaling.get("base_batch_size")
    batch = runner.world_size * runner.train_dataloader.batch_sampler.batch_size
    if scaling.get("enable") or base in (None, batch):
        return ""
    return (
        f"the config's is for {base} images a step, and there are {batch}; "
        "auto_scale_lr.enable=True scales it"
    )


def find_backbone(model: nn.Module) -> nn.Module:
    """The backbone of a detector, also of one that wraps another."""
    names = dict(model.named_modules())
    return names.get("backbone") or names["detector.backbone"]


def pixels(preprocessor: nn.Module) -> str:
    """Order, mean and standard deviation of the pixels as the backbone sees them, 0 to 255."""
    if not hasattr(preprocessor, "_enable_normalize"):
        return f"as {type(preprocessor).__name__} makes them"
    # MMDetection reads images as BGR; `_channel_conversion` says whether they are turned.
    order = "RGB" if getattr(preprocessor, "_channel_conversion", False) else "BGR"
    if not preprocessor._enable_normalize:
        return f"{order}, not normalised"
    mean, std = (
        tuple(round(v, 3) for v in getattr(preprocessor, name).flatten().tolist())
        for name in ("mean", "std")
    )
    return f"{order}, mean {mean}, std {std}"


def weights_source(runner: Any, backbone: nn.Module) -> str:
    """Where the weights came from; '' where they are random."""
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
