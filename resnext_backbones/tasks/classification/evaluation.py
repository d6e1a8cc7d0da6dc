"""Top-1 and top-5 accuracy are measured here, of the weights and of their average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.dist import broadcast
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EMAHook
from mmengine.runner import ValLoop as MMEngineValLoop

from resnext_backbones.adapters.registry import LOOPS, METRICS
from resnext_backbones.tasks.classification.data import count_images


@METRICS.register_module()
class Accuracy(BaseMetric):
    """The metric is the share of images whose class is the likeliest, and among the top five."""

    default_prefix = "accuracy"

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, int]]) -> None:  # noqa: ARG002
        """Keeps the place of each image's class."""
        self.results += [sample["place"] for sample in data_samples]

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        """Returns `top1` and `top5`, from 0 to 1."""
        count = max(1, len(results))
        return {f"top{k}": sum(place < k for place in results) / count for k in (1, 5)}


@LOOPS.register_module()
class ValLoop(MMEngineValLoop):
    """MMEngine's loop evaluates averaged weights; here those of the training are as well.

    The averaged ones are what is published, and have the plain names: `accuracy/top1`. The others
    are `training/accuracy/top1`. All processes evaluate with the statistics of the first one's
    norms, which are what is saved.
    """

    def run(self) -> dict[str, float]:
        self.runner.call_hook("before_val")
        # Where the others get ready to count, EMAHook puts the average in place.
        averaging = [hook for hook in self.runner.hooks if isinstance(hook, EMAHook)]
        for hook in self.runner.hooks:
            if hook not in averaging:
                hook.before_val_epoch(self.runner)
        training = self._evaluate() if averaging else {}
        for hook in averaging:
            hook.before_val_epoch(self.runner)
        metrics = self._evaluate() | {f"training/{name}": v for name, v in training.items()}
        self.runner.call_hook("after_val_epoch", metrics=metrics)
        self.runner.call_hook("after_val")
        return metrics

    def _evaluate(self) -> dict[str, float]:
        self.runner.model.eval()
        for buffer in self.runner.model.buffers():
            broadcast(buffer)
        for number, batch in enumerate(self.dataloader):
            self.run_iter(number, batch)
        return self.evaluator.evaluate(count_images(self.dataloader.dataset))
