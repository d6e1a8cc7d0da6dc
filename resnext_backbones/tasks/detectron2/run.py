"""A detector of Detectron2's is trained and evaluated, in one process or on many GPUs."""

from __future__ import annotations

import logging
import weakref
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.config import instantiate
from detectron2.data import DatasetMapper, build_detection_test_loader, build_detection_train_loader
from detectron2.engine import (
    AMPTrainer,
    DefaultTrainer,
    SimpleTrainer,
    TrainerBase,
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
from resnext_backbones.engine.failures import said
from resnext_backbones.engine.fit import NONE, refuse_earlier_run
from resnext_backbones.engine.memory import less_memory_named
from resnext_backbones.engine.processes import agree
from resnext_backbones.engine.seeds import be_deterministic
from resnext_backbones.engine.signals import requests
from resnext_backbones.errors import InputError, some
from resnext_backbones.tasks.detectron2.annotations import use_completed
from resnext_backbones.tasks.detectron2.checkpoints import (
    Checkpointer,
    SafeCheckpointer,
    last_checkpoint,
)
from resnext_backbones.tasks.detectron2.checks import (
    check_batch,
    check_data,
    check_devices,
    check_weights,
    evaluators_of,
)
from resnext_backbones.tasks.detectron2.experiments import (
    Experiment,
    LazyExperiment,
    YamlExperiment,
    read_experiment,
)
from resnext_backbones.tasks.detectron2.images import SizedMapper, sized
from resnext_backbones.tasks.detectron2.requests import RequestsHook, handed_on
from resnext_backbones.tasks.detectron2.resumed import OptimizerSettings

LOGGER = "resnext_backbones"

logger = logging.getLogger(LOGGER)


@dataclass(frozen=True)
class Request:
    """Says what to do; each process reads the config by itself.

    Attributes:
        config, overrides, variant, work_dir: as of `read_experiment`.
        weights: of the backbone: a path, an address or an alias; "none" starts from random values,
            freezes nothing and lets norms learn their statistics; None is the config's.
        resume: go on from the last checkpoint of the work directory.
        eval_only: evaluate, and do not train.
        allow_mismatch: warn, and go on, where the detector does not fit its weights.
        deterministic: as `be_deterministic`, with the seed 0 where the config has none.
    """

    config: str
    overrides: tuple[str, ...] = ()
    weights: str | None = None
    variant: str | None = None
    work_dir: str | None = None
    resume: bool = False
    eval_only: bool = False
    allow_mismatch: bool = False
    deterministic: bool = False

    def experiment(self) -> Experiment:
        """Returns the config with all of this applied; InputError: it cannot be read, there are no
        such weights, or a run in the work directory would be overwritten.
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
        if self.deterministic and (found.seed is None or found.seed < 0):
            found.set(seed=0)
        return found


def run(
    request: Request,
    *,
    num_gpus: int = 1,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
) -> Path:
    """Trains or evaluates, on the CPU where there is no GPU; returns the work directory.

    Args:
        num_gpus: of each machine; a process each.
        num_machines, machine_rank, dist_url: as of `detectron2.engine.launch`.

    Raises:
        InputError: config, data, devices or weights are wrong, or do not fit each other.
        WeightsError: the weights cannot be had or read, or do not fit.
    """
    check_devices(num_gpus, num_machines, machine_rank, dist_url)
    experiment = request.experiment()
    check_batch(experiment, num_gpus * num_machines)
    check_data(experiment, train=not request.eval_only)
    check_weights(
        experiment,
        evaluate=request.eval_only,
        resume=request.resume and bool(last_checkpoint(experiment.work_dir)),
        allow_mismatch=request.allow_mismatch,
    )
    if request.deterministic:
        be_deterministic()  # the environment is that of the processes, too
    with requests.listening(), handed_on() if num_gpus * num_machines > 1 else nullcontext():
        launch(_work, num_gpus, num_machines, machine_rank, dist_url, args=(request,))
    return Path(experiment.work_dir)


def _work(request: Request) -> None:
    """Does the work of one process."""
    experiment = request.experiment()
    with requests.listening(), said(experiment.work_dir):
        _set_up(experiment, request)
        is_lazy = isinstance(experiment, LazyExperiment)
        with less_memory_named(lambda: less_memory(experiment)), finite_loss():
            if request.eval_only:
                model = create_ddp_model(experiment.build())
                SafeCheckpointer(model).load(experiment.checkpoint)
                (_evaluate_lazy if is_lazy else _YamlTrainer.test)(experiment.cfg, model)
            else:
                (_train_lazy if is_lazy else _train_yaml)(experiment, request.resume)


def _set_up(experiment: Experiment, request: Request) -> None:
    """Sets up a process, its logs and its data sets."""
    # It logs the traceback of an error and raises it as well.
    logging.getLogger(TrainerBase.__module__).addFilter(lambda record: not record.exc_info)
    agree(experiment.checkpoint, f"--work-dir {experiment.work_dir}")
    default_setup(
        experiment.cfg, Namespace(config_file=str(experiment.path), eval_only=request.eval_only)
    )
    setup_logger(experiment.work_dir, distributed_rank=comm.get_rank(), name=LOGGER)
    if request.deterministic:
        be_deterministic()  # Detectron2 has set what its config says
    use_completed(experiment, train=not request.eval_only, say=logger.info, warn=logger.warning)


@contextmanager
def finite_loss() -> Iterator[None]:
    """Raises InputError where Detectron2 has found a loss that is not finite, in its step."""
    try:
        yield
    except FloatingPointError as error:
        raise InputError(
            f"{' '.join(str(error).split())}: lower the learning rate or clip the gradients; the "
            "checkpoints are from before, and --resume takes the last one"
        ) from error


def less_memory(experiment: Experiment) -> Iterator[str]:
    """Yields what a detector could be trained with in less memory."""
    keys, between = experiment.keys, experiment.between
    yield f"{keys['amp']}{between}True: activations take half"
    if experiment.batch > 1:
        half = experiment.batch // 2
        yield f"{keys['batch']}{between}{half}, of {experiment.batch} now, with half the rate"
    yield f"{keys['freeze_at']}{between}{experiment.freeze_at + 1}: frozen stages keep nothing"
    yield f"smaller images: {keys['sizes']}"


def _train_lazy(experiment: Experiment, resume: bool) -> None:
    """Trains as Detectron2's tools/lazyconfig_train_net.py does."""
    cfg, model = experiment.cfg, experiment.build()
    report(model, experiment)
    cfg.optimizer.params.model = model
    amp = cfg.train.amp.enabled and torch.cuda.is_available()
    trainer = (AMPTrainer if amp else SimpleTrainer)(
        create_ddp_model(model, **cfg.train.ddp),
        instantiate(sized(cfg.dataloader.train)),
        instantiate(cfg.optimizer),
    )
    folder = cfg.train.output_dir
    checkpointer = Checkpointer(model, folder, experiment.pixels, trainer=trainer)
    main = comm.is_main_process()
    steps, period = cfg.train.max_iter, cfg.train.log_period
    registered = [
        hooks.IterationTimer(),
        hooks.LRScheduler(scheduler=instantiate(cfg.lr_multiplier)),
        hooks.PeriodicCheckpointer(checkpointer, **cfg.train.checkpointer) if main else None,
        RequestsHook(checkpointer),
        hooks.EvalHook(cfg.train.eval_period, lambda: _evaluate_lazy(cfg, trainer.model)),
        hooks.PeriodicWriter(default_writers(folder, steps), period=period) if main else None,
    ]
    trainer.register_hooks(registered)  # which leaves out None
    with OptimizerSettings(trainer.optimizer).put_back(trainer.optimizer) as changed:
        checkpointer.resume_or_load(cfg.train.init_checkpoint, resume=resume)
    _say(changed)
    # A checkpoint says which iteration was the last to be finished.
    first = trainer.iter + 1 if resume and checkpointer.has_checkpoint() else 0
    trainer.train(first, steps)


def _evaluate_lazy(cfg: Any, model: nn.Module) -> Any:
    data = cfg.dataloader
    if "evaluator" not in data:
        return None
    results = inference_on_dataset(
        model, instantiate(sized(data.test)), instantiate(data.evaluator)
    )
    print_csv_format(results)
    return results


def _train_yaml(experiment: Experiment, resume: bool) -> None:
    """Trains as Detectron2's tools/train_net.py does."""
    trainer = _YamlTrainer(experiment.cfg)
    model: Any = trainer.model
    report(getattr(model, "module", model), experiment)
    settings = OptimizerSettings(trainer.optimizer)
    with settings.put_back(trainer.optimizer, trainer.scheduler) as changed:
        trainer.resume_or_load(resume=resume)
    _say(changed)
    trainer.train()


def _say(changed: list[str]) -> None:
    if changed:
        logger.warning(
            f"resumed with other settings than its run had: {some(changed)}: the config's hold"
        )


class _YamlTrainer(DefaultTrainer):
    """Has the evaluators, which Detectron2 leaves to its users, and writes whole checkpoints."""

    def build_hooks(self) -> list[Any]:
        folder = self.cfg.OUTPUT_DIR
        pixels = YamlExperiment(Path(), self.cfg).pixels
        kept = weakref.proxy(self)
        self.checkpointer = Checkpointer(self.model, folder, pixels, trainer=kept)
        built = super().build_hooks()
        evaluates = next(i for i, hook in enumerate(built) if isinstance(hook, hooks.EvalHook))
        built.insert(evaluates, RequestsHook(self.checkpointer))
        return built

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
        folder = str(Path(cfg.OUTPUT_DIR) / "inference")
        return DatasetEvaluators(
            [make(dataset_name, output_dir=folder) for make in evaluators_of(dataset_name)]
        )


def report(model: nn.Module, experiment: Experiment) -> None:
    """Logs what the training starts from."""
    for backbone in model.modules():
        if not isinstance(backbone, ResNeXtBackbone):
            continue
        for name, value in summary(backbone.trunk, model, str(experiment.pixels)):
            logger.info(f"{name}: {value}")
        if source := backbone.loaded_weights or experiment.checkpoint:
            logger.info(f"weights: {source}")
        else:
            why = f"--weights {NONE}: {experiment.changed}" if experiment.changed else "none given"
            logger.warning(f"weights: random: {why}")
