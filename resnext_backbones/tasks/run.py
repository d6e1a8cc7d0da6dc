"""MMEngine's runner trains and evaluates, after all checks that come before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from torch import nn

from resnext_backbones.data.annotations import Annotations
from resnext_backbones.engine import runner
from resnext_backbones.engine.begin import Begin
from resnext_backbones.engine.checks.network import check_checkpoint, read_checkpoint
from resnext_backbones.engine.checks.outputs import check_folder, check_metrics_file
from resnext_backbones.engine.checks.table import check_run
from resnext_backbones.engine.config import check_parts
from resnext_backbones.engine.fit import (
    WeightsUse,
    check_seen_classes,
    check_weights,
    fetch_weights,
    stop_at,
)
from resnext_backbones.engine.handover import share_weights
from resnext_backbones.engine.hooks import ReportHook
from resnext_backbones.engine.walk import dicts_with
from resnext_backbones.engine.written import unlike_its_run
from resnext_backbones.errors import InputError

CHECK = "resnext_backbones.CheckWeightsHook"
"""The configs of this package bring it, for tools that do not check."""


@dataclass(frozen=True)
class Task:
    """Says what runs with one library's networks do in their own way.

    Attributes:
        load_config: as `engine.config.read_config`.
        use_weights: sets the backbone's weights in a config, and says what that changed.
        check_data: checks what a config reads in a mode, `train` or `test`; returns the classes, if
            they are those of the network.
        begin: checks what a run goes on from, or begins with, and says what that is.
        use_of: returns what a network does with its backbone's weights; None where that is unknown.
        given: returns what of a model's config must be as in the run that wrote a checkpoint.
        find_backbone: finds it in the network.
        hooks: returns what a run registers beside a config's hooks.
        test_hooks: returns what an evaluation registers, which may write pictures to a folder.
        metrics: returns the name of the file of the metrics, and what makes a table of them.
        annotations: returns what was found in the annotation files of a runner's data, by split.
        read_checkpoint: returns what a checkpoint holds.
    """

    load_config: Callable[..., Config]
    use_weights: Callable[[Config, str], str]
    check_data: Callable[[Config, str], Sequence[str]]
    begin: Callable[[Config], Begin]
    use_of: Callable[[Config], WeightsUse | None]
    given: Callable[..., Mapping[str, Any]]
    find_backbone: Callable[[nn.Module], nn.Module]
    hooks: Callable[[], Sequence[Hook]]
    test_hooks: Callable[[Config, Path | None], Sequence[Hook]]
    metrics: Callable[[Config], tuple[str, Callable[[Mapping[str, float]], str]]]
    annotations: Callable[[Any], Mapping[str, Sequence[Annotations]]]
    read_checkpoint: Callable[[str], Mapping[str, Any]] = read_checkpoint

    def train(self, cfg: Config, *, allow_mismatch: bool = False, changed: str = "") -> Path:
        """Trains as a config says; returns its work directory, with checkpoints, logs and curves.

        Args:
            allow_mismatch: warn, and go on, where pixels, norms or frozen stages do not fit the
                weights, and where a run goes on with other settings.
            changed: what `use_weights` returned, for the log.

        Raises:
            InputError: data, an argument or a checkpoint is wrong, or does not fit the network.
            WeightsError: the backbone's weights cannot be had, or do not fit.
        """
        with runner.watched(cfg):
            check_run(cfg, "train")
            classes = self.check_data(cfg, "train")
            runner.start(cfg, runner.FOR_TRAINING)
            with runner.alone_in(cfg):
                first = self.begin(cfg)
                meta, to_resume = first.meta, bool(cfg.get("resume"))
                name = str(cfg.get("load_from"))
                unlike = unlike_its_run(cfg.model, name, meta, self.given, to_resume=to_resume)
                stop_at(chain(first.problems, unlike), allow_mismatch=allow_mismatch, to="go on")
                if to_resume:
                    check_seen_classes(name, meta, classes)
                use = self.use_of(cfg)
                share_weights(use.source if use else None)
                check_weights(use, allow_mismatch=allow_mismatch)
                for hook in dicts_with(cfg.get("custom_hooks"), lambda d: d.get("type") == CHECK):
                    hook["allow_mismatch"] = allow_mismatch  # it looks at the same once more
                fetch_weights(use)
                pixels = self.given(cfg.model, to_resume=False)["pixels"]
                said = str(pixels or "as the config's data_preprocessor makes them")
                report = ReportHook(
                    self.find_backbone, said, changed, first.loaded, first.left, self.annotations
                )
                return runner.train(cfg, *self.hooks(), report)

    def evaluate(
        self, cfg: Config, checkpoint: str, *, out: Path | None = None, show_dir: Path | None = None
    ) -> dict[str, float]:
        """Evaluates a checkpoint, and prints the table of its metrics.

        Args:
            out: where the metrics are written as JSON, and beside it the table as text; None is a
                file in the work directory.
            show_dir: where a picture of each image is written; None writes none.

        Raises:
            InputError, WeightsError: as `train`.
        """
        check_parts(cfg, "an evaluation")
        name, table = self.metrics(cfg)
        out = out or Path(cfg.work_dir) / f"{name}.json"
        check_metrics_file("--out", out)
        if show_dir is not None:
            check_folder("--show-dir", show_dir)
        hooks = self.test_hooks(cfg, show_dir)
        check_run(cfg, "test")
        classes = self.check_data(cfg, "test")
        meta = check_checkpoint(checkpoint, cfg, self.read_checkpoint(checkpoint))
        for problem in unlike_its_run(cfg.model, checkpoint, meta, self.given, to_resume=False):
            raise InputError(problem)
        check_seen_classes(checkpoint, meta, classes)
        return runner.evaluate(cfg, checkpoint, out, table, *hooks)
