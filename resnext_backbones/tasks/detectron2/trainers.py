"""Detectron2's trainers train configs of both kinds, with whole checkpoints and requests to end."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from detectron2.config import instantiate
from detectron2.data import DatasetMapper, build_detection_test_loader, build_detection_train_loader
from detectron2.engine import (
    AMPTrainer,
    DefaultTrainer,
    SimpleTrainer,
    create_ddp_model,
    default_writers,
    hooks,
)
from detectron2.evaluation import (
    COCOEvaluator,
    DatasetEvaluators,
    inference_on_dataset,
    print_csv_format,
)
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from detectron2.utils.registry import locate
from omegaconf import ListConfig
from torch import nn

from resnext_backbones.adapters.detectron2 import ResNeXtBackbone
from resnext_backbones.engine.describe import summary
from resnext_backbones.engine.fit import NONE
from resnext_backbones.engine.run_ways import KEY, RunWays
from resnext_backbones.errors import some
from resnext_backbones.tasks.detectron2.averaged import (
    CURRENT,
    AveragingHook,
    averaged_weights,
    check_resumed,
)
from resnext_backbones.tasks.detectron2.checkpoints import Checkpointer
from resnext_backbones.tasks.detectron2.checks import evaluators_of
from resnext_backbones.tasks.detectron2.experiments import Experiment, YamlExperiment
from resnext_backbones.tasks.detectron2.images import SizedMapper, sized
from resnext_backbones.tasks.detectron2.page import (
    INFERENCE,
    Found,
    end_run,
    note_begin,
    note_evaluation,
    note_first_step,
)
from resnext_backbones.tasks.detectron2.requests import RequestsHook
from resnext_backbones.tasks.detectron2.resumed import OptimizerSettings

LOGGER = "resnext_backbones"

logger = logging.getLogger(LOGGER)

Writers = Callable[[], list[EventWriter]]


class RunWaysHook(hooks.HookBase):
    """Has convolutions computed in ways that are measured before the first step, or in those of the
    checkpoint that a run goes on from.
    """

    def __init__(self, ways: RunWays) -> None:
        self.before_train, self.after_train = ways.begin, ways.end


def ways_of(model: nn.Module, *, tunes: bool) -> RunWays:
    """Returns those of a run, which logs what becomes of them."""
    return RunWays(
        model, called=ResNeXtBackbone, tunes=tunes, info=logger.info, warn=logger.warning
    )


def train_lazy(
    experiment: Experiment,
    resume: bool,
    *,
    tunes: bool,
    found: Found | None = None,
    own: Writers = list,
) -> None:
    """Trains as Detectron2's tools/lazyconfig_train_net.py does.

    Args:
        found: what was found in the annotation files, by split, for the page of the run.
        own: makes writers beside Detectron2's, once the record of the run has begun.

    Raises:
        InputError: weights are to be averaged in a way that is unknown, or were and no longer are.
    """
    _use_amp_on_gpus(experiment)
    cfg, model = experiment.cfg, experiment.build()
    report(model, experiment, found or {})
    cfg.optimizer.params.model = model
    trainer = (AMPTrainer if cfg.train.amp.enabled else SimpleTrainer)(
        create_ddp_model(model, **cfg.train.ddp),
        instantiate(sized(cfg.dataloader.train)),
        instantiate(cfg.optimizer),
    )
    folder = cfg.train.output_dir
    ways = ways_of(model, tunes=tunes)
    averages = averaged_weights(cfg.train, model)
    kept: Any = {"trainer": trainer, KEY: ways, **({CURRENT: averages} if averages else {})}
    best = averages.model if averages else model
    checkpointer = Checkpointer(best, folder, experiment.pixels, **kept)
    evaluated = best if averages else trainer.model
    main = comm.is_main_process()
    steps, period = cfg.train.max_iter, cfg.train.log_period
    writers = [*default_writers(folder, steps), *own()] if main else []
    registered = [
        hooks.IterationTimer(),
        hooks.LRScheduler(scheduler=instantiate(cfg.lr_multiplier)),
        AveragingHook(averages) if averages else None,
        hooks.PeriodicCheckpointer(checkpointer, **cfg.train.checkpointer) if main else None,
        RequestsHook(checkpointer, evaluated),
        hooks.EvalHook(cfg.train.eval_period, lambda: evaluate_lazy(cfg, evaluated)),
        hooks.PeriodicWriter(writers, period=period) if main else None,
        RunWaysHook(ways),  # the last one, since EvalHook evaluates after training too
    ]
    trainer.register_hooks(registered)  # which leaves out None
    with OptimizerSettings(trainer.optimizer).put_back(trainer.optimizer) as changed:
        rest = checkpointer.resume_or_load(cfg.train.init_checkpoint, resume=resume)
    _say(changed)
    goes_on = resume and checkpointer.has_checkpoint()
    if averages:
        averages.begin()
    elif goes_on:
        check_resumed(rest)
    # A checkpoint says which iteration was the last to be finished.
    first = trainer.iter + 1 if goes_on else 0
    note_first_step(experiment, first)
    trainer.train(first, steps)
    end_run(Path(folder), steps)


def evaluate_lazy(cfg: Any, model: nn.Module) -> Any:
    """Returns what the evaluator of a LazyConfig makes of a model, and prints it; None: there is
    no evaluator.
    """
    data = cfg.dataloader
    if "evaluator" not in data:
        return None
    folder = Path(cfg.train.output_dir)
    several = isinstance(data.evaluator, ListConfig)
    of_coco = list(filter(_is_coco, data.evaluator if several else [data.evaluator]))
    for evaluator in of_coco:
        evaluator.setdefault("output_dir", str(folder / INFERENCE))
    results = inference_on_dataset(
        model, instantiate(sized(data.test)), instantiate(data.evaluator)
    )
    print_csv_format(results)
    if of_coco:
        note_evaluation(folder, of_coco[0].dataset_name, results)
    return results


def _is_coco(evaluator: Any) -> bool:
    kind = evaluator["_target_"]
    kind = locate(kind) if isinstance(kind, str) else kind
    return isinstance(kind, type) and issubclass(kind, COCOEvaluator)


def train_yaml(
    experiment: Experiment,
    resume: bool,
    *,
    tunes: bool,
    found: Found | None = None,
    own: Writers = list,
) -> None:
    """Trains as Detectron2's tools/train_net.py does; arguments as of `train_lazy`."""
    _use_amp_on_gpus(experiment)
    trainer = YamlTrainer(experiment.cfg, tunes=tunes, own=own)
    model: Any = trainer.model
    report(getattr(model, "module", model), experiment, found or {})
    settings = OptimizerSettings(trainer.optimizer)
    with settings.put_back(trainer.optimizer, trainer.scheduler) as changed:
        trainer.resume_or_load(resume=resume)
    _say(changed)
    note_first_step(experiment, trainer.start_iter)
    trainer.train()
    end_run(Path(experiment.work_dir), trainer.max_iter)


def _use_amp_on_gpus(experiment: Experiment) -> None:
    if experiment.amp and not torch.cuda.is_available():
        logger.warning(f"{experiment.keys['amp']}: no GPU here, training in float32")
        experiment.set(amp=False)


def _say(changed: list[str]) -> None:
    if changed:
        logger.warning(
            f"resumed with other settings than its run had: {some(changed)}: the config's hold"
        )


class YamlTrainer(DefaultTrainer):
    """Has the evaluators, which Detectron2 leaves to its users, and writes whole checkpoints."""

    def __init__(self, cfg: Any, *, tunes: bool = True, own: Writers = list) -> None:
        self.tunes, self.own_writers = tunes, own
        super().__init__(cfg)

    def build_hooks(self) -> list[Any]:
        folder = self.cfg.OUTPUT_DIR
        pixels = YamlExperiment(Path(), self.cfg).pixels
        ways = ways_of(self.model, tunes=self.tunes)
        kept: Any = {"trainer": weakref.proxy(self), KEY: ways}
        self.checkpointer = Checkpointer(self.model, folder, pixels, **kept)
        # The last one, since EvalHook evaluates after training too.
        built = [*super().build_hooks(), RunWaysHook(ways)]
        evaluates = next(i for i, hook in enumerate(built) if isinstance(hook, hooks.EvalHook))
        built.insert(evaluates, RequestsHook(self.checkpointer, self.model))
        return built

    def build_writers(self) -> list[EventWriter]:
        return [*super().build_writers(), *self.own_writers()]

    @classmethod
    def build_train_loader(cls, cfg: Any) -> Any:
        mapper = SizedMapper(DatasetMapper(cfg, is_train=True))
        return build_detection_train_loader(cfg, mapper=mapper)

    @classmethod
    def build_test_loader(cls, cfg: Any, dataset_name: str) -> Any:
        mapper = SizedMapper(DatasetMapper(cfg, is_train=False))
        return build_detection_test_loader(cfg, dataset_name, mapper=mapper)

    @classmethod
    def build_evaluator(cls, cfg: Any, dataset_name: str) -> Any:
        folder = str(Path(cfg.OUTPUT_DIR) / INFERENCE)
        return DatasetEvaluators(
            [make(dataset_name, output_dir=folder) for make in evaluators_of(dataset_name)]
        )

    @classmethod
    def test(cls, cfg: Any, model: nn.Module, evaluators: Any = None) -> Any:
        """Evaluates as Detectron2 does, and notes what, and of the data set that was the last."""
        results = super().test(cfg, model, evaluators)
        if comm.is_main_process() and cfg.DATASETS.TEST:
            name = cfg.DATASETS.TEST[-1]
            note_evaluation(Path(cfg.OUTPUT_DIR), name, results.get(name, results))
        return results


def report(model: nn.Module, experiment: Experiment, found: Found) -> None:
    """Logs what the training starts from, and keeps it for the page of the run."""
    for backbone in model.modules():
        if not isinstance(backbone, ResNeXtBackbone):
            continue
        facts = summary(backbone.trunk, model, str(experiment.pixels))
        for name, value in facts:
            logger.info(f"{name}: {value}")
        source = backbone.loaded_weights or experiment.checkpoint
        note_begin(experiment, facts, str(source or ""), found)
        if source:
            logger.info(f"weights: {source}")
        else:
            why = f"--weights {NONE}: {experiment.changed}" if experiment.changed else "none given"
            logger.warning(f"weights: random: {why}")
