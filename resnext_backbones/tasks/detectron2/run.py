"""Training and evaluating a detector of Detectron2's, in one process or on many GPUs."""

from __future__ import annotations

import logging
import weakref
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import instantiate
from detectron2.engine import (
    AMPTrainer,
    DefaultTrainer,
    SimpleTrainer,
    create_ddp_model,
    default_setup,
    default_writers,
    hooks,
    launch,
)
from detectron2.evaluation import DatasetEvaluators, inference_on_dataset, print_csv_format
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from torch import nn

from resnext_backbones.adapters.detectron2 import ResNeXtBackbone
from resnext_backbones.engine.describe import summary
from resnext_backbones.engine.fit import NONE, refuse_earlier_run
from resnext_backbones.engine.processes import agree
from resnext_backbones.tasks.detectron2.checkpoints import (
    Checkpointer,
    SeenPixels,
    last_checkpoint,
)
from resnext_backbones.tasks.detectron2.checks import (
    check_batch,
    check_data,
    check_devices,
    check_weights,
    evaluators_of,
)
from resnext_backbones.tasks.detectron2.experiments import Experiment
from resnext_backbones.tasks.detectron2.lazy import LazyExperiment
from resnext_backbones.tasks.detectron2.read import read_experiment
from resnext_backbones.tasks.detectron2.yaml_files import YamlExperiment

LOGGER = "resnext_backbones"


@dataclass(frozen=True)
class Request:
    """What to do; each process reads the config by itself.

    Attributes:
        config: as of `read_experiment`.
        overrides: settings, as the kind of config has them.
        weights: of the backbone: a path, an address or an alias; "none" starts from random values,
            freezes nothing and lets norms learn their statistics; None is the config's.
        variant: the network of a LazyConfig; None is its own.
        work_dir: for all output; None is work_dirs/NAME.
        resume: go on from the last checkpoint of the work directory.
        eval_only: evaluate, and do not train.
        allow_mismatch: warn, and go on, where the detector does not fit its weights.
    """

    config: str
    overrides: tuple[str, ...] = ()
    weights: str | None = None
    variant: str | None = None
    work_dir: str | None = None
    resume: bool = False
    eval_only: bool = False
    allow_mismatch: bool = False

    def experiment(self) -> Experiment:
        """The config with all of this applied.

        Raises:
            InputError: it cannot be read, or there are no such weights.
        """
        found = read_experiment(
            self.config, self.overrides, variant=self.variant, work_dir=self.work_dir
        )
        last, given = last_checkpoint(found.work_dir), found.checkpoint
        if self.weights == NONE:
            found.start_at_random()
        elif self.weights is not None:
            found.start_from(weights=self.weights)
        if self.resume and last:
            found.start_from(checkpoint=last)
        elif self.eval_only:
            found.start_from(checkpoint=given)
        elif last and not self.resume:
            refuse_earlier_run(Path(found.work_dir))
        return found


def run(
    request: Request,
    *,
    num_gpus: int = 1,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
) -> Path:
    """Train or evaluate, on the CPU where there is no GPU.

    Args:
        num_gpus: of each machine; a process each.
        num_machines, machine_rank, dist_url: as of `detectron2.engine.launch`.

    Returns:
        The work directory.

    Raises:
        InputError: the config, the data or the devices are wrong, or the detector does not fit
            its weights.
        WeightsError: the weights cannot be had or read, or do not fit.
    """
    check_devices(num_gpus, num_machines, machine_rank, dist_url)
    experiment = request.experiment()
    check_batch(experiment, num_gpus * num_machines)
    check_data(experiment, train=not request.eval_only)
    check_weights(experiment, evaluate=request.eval_only, allow_mismatch=request.allow_mismatch)
    launch(_work, num_gpus, num_machines, machine_rank, dist_url, args=(request,))
    return Path(experiment.work_dir)


def _work(request: Request) -> None:
    """What each process does."""
    experiment = request.experiment()
    agree(experiment.checkpoint, f"--work-dir {experiment.work_dir}")
    default_setup(
        experiment.cfg, Namespace(config_file=str(experiment.path), eval_only=request.eval_only)
    )
    setup_logger(experiment.work_dir, distributed_rank=comm.get_rank(), name=LOGGER)
    engine = _Lazy(experiment) if isinstance(experiment, LazyExperiment) else _Yaml(experiment)
    if request.eval_only:
        model = create_ddp_model(experiment.build())
        DetectionCheckpointer(model).load(experiment.checkpoint)
        engine.evaluate(model)
    else:
        engine.train(request.resume)


class _Lazy:
    """The parts of the engine, as a LazyConfig names them."""

    def __init__(self, experiment: LazyExperiment) -> None:
        self.experiment = experiment
        self.cfg = experiment.cfg

    def train(self, resume: bool) -> None:
        settings = self.cfg.train
        model = self.experiment.build()
        report(model, self.experiment)
        self.cfg.optimizer.params.model = model
        amp = settings.amp.enabled and torch.cuda.is_available()
        trainer = (AMPTrainer if amp else SimpleTrainer)(
            create_ddp_model(model, **settings.ddp),
            instantiate(self.cfg.dataloader.train),
            instantiate(self.cfg.optimizer),
        )
        checkpointer = Checkpointer(
            model,
            settings.output_dir,
            trainer=trainer,
            preprocessing=SeenPixels(self.experiment.pixels),
        )
        registered = [
            hooks.IterationTimer(),
            hooks.LRScheduler(scheduler=instantiate(self.cfg.lr_multiplier)),
        ]
        evaluating = hooks.EvalHook(settings.eval_period, lambda: self.evaluate(trainer.model))
        if comm.is_main_process():
            writers = default_writers(settings.output_dir, settings.max_iter)
            registered += [
                hooks.PeriodicCheckpointer(checkpointer, **settings.checkpointer),
                evaluating,
                hooks.PeriodicWriter(writers, period=settings.log_period),
            ]
        else:
            registered.append(evaluating)
        trainer.register_hooks(registered)
        checkpointer.resume_or_load(settings.init_checkpoint, resume=resume)
        # A checkpoint says which iteration was the last to be finished.
        first = trainer.iter + 1 if resume and checkpointer.has_checkpoint() else 0
        trainer.train(first, settings.max_iter)

    def evaluate(self, model: nn.Module) -> Any:
        data = self.cfg.dataloader
        if "evaluator" not in data:
            return None
        results = inference_on_dataset(model, instantiate(data.test), instantiate(data.evaluator))
        print_csv_format(results)
        return results


class _Yaml:
    """Detectron2's default trainer, as its YAML files expect it."""

    def __init__(self, experiment: Experiment) -> None:
        assert isinstance(experiment, YamlExperiment)
        self.experiment = experiment
        self.cfg = experiment.cfg

    def train(self, resume: bool) -> None:
        trainer = _Trainer(self.cfg)
        model: Any = trainer.model
        report(getattr(model, "module", model), self.experiment)
        trainer.resume_or_load(resume=resume)
        trainer.train()

    def evaluate(self, model: nn.Module) -> Any:
        return _Trainer.test(self.cfg, model)


class _Trainer(DefaultTrainer):
    """With the evaluators, which Detectron2 leaves to its users, and whole checkpoints."""

    def build_hooks(self) -> list[Any]:
        self.checkpointer = Checkpointer(
            self.model,
            self.cfg.OUTPUT_DIR,
            trainer=weakref.proxy(self),
            preprocessing=SeenPixels(YamlExperiment(Path(), self.cfg).pixels),
        )
        return super().build_hooks()

    @classmethod
    def build_evaluator(cls, cfg: Any, dataset_name: str) -> Any:
        folder = str(Path(cfg.OUTPUT_DIR) / "inference")
        return DatasetEvaluators(
            [make(dataset_name, output_dir=folder) for make in evaluators_of(dataset_name)]
        )


def report(model: nn.Module, experiment: Experiment) -> None:
    """Log what the training starts from."""
    logger = logging.getLogger(LOGGER)
    own = [m for m in model.modules() if isinstance(m, ResNeXtBackbone)]
    for backbone in own:
        for name, value in summary(backbone.trunk, model, str(experiment.pixels)):
            logger.info(f"{name}: {value}")
        if source := backbone.loaded_weights or experiment.checkpoint:
            logger.info(f"weights: {source}")
        else:
            why = f"--weights {NONE}: {experiment.changed}" if experiment.changed else "none given"
            logger.warning(f"weights: random: {why}")
