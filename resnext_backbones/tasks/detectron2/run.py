"""A detector of Detectron2's is trained and evaluated, in one process or on many GPUs."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from detectron2.engine import TrainerBase, create_ddp_model, default_setup, launch
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from resnext_backbones.engine.alone import alone_in
from resnext_backbones.engine.failures import said
from resnext_backbones.engine.fit import NONE, refuse_earlier_run
from resnext_backbones.engine.loggers import check_loggers
from resnext_backbones.engine.memory import less_memory_named
from resnext_backbones.engine.processes import agree
from resnext_backbones.engine.seeds import be_deterministic
from resnext_backbones.engine.signals import requests
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.detectron2.annotations import use_completed
from resnext_backbones.tasks.detectron2.checkpoints import (
    SafeCheckpointer,
    file_of,
    last_checkpoint,
)
from resnext_backbones.tasks.detectron2.checks import (
    check_batch,
    check_data,
    check_devices,
    check_weights,
)
from resnext_backbones.tasks.detectron2.experiments import (
    Experiment,
    LazyExperiment,
    read_experiment,
)
from resnext_backbones.tasks.detectron2.loggers import writers
from resnext_backbones.tasks.detectron2.page import Found, end_run
from resnext_backbones.tasks.detectron2.requests import handed_on
from resnext_backbones.tasks.detectron2.trainers import (
    LOGGER,
    YamlTrainer,
    evaluate_lazy,
    logger,
    train_lazy,
    train_yaml,
)


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
        no_tune: measure no convolutions, and compute all of them plainly.
        loggers: of `engine.loggers`; Detectron2 writes TensorBoard's file in any case.
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
    no_tune: bool = False
    loggers: Sequence[str] | None = None

    def experiment(self) -> Experiment:
        """Returns the config with all of this applied; InputError: it cannot be read, there are no
        such weights, or a run in the work directory would be overwritten.
        """
        found = read_experiment(
            self.config, self.overrides, variant=self.variant, work_dir=self.work_dir
        )
        last, given = last_checkpoint(found.work_dir), found.checkpoint or ""
        weights = self.weights
        if weights is None and given and Path(given).is_dir():
            weights = given  # of the trunk, as `save_pretrained` writes them
        if weights == NONE:
            found.start_at_random()
        elif weights is not None:
            found.start_from(weights=weights)
        elif given:
            found.set(checkpoint=file_of(given))
        if self.resume and last:
            found.start_from(checkpoint=last)
        elif self.eval_only:
            found.start_from(checkpoint=file_of(given))
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
    check_loggers(request.loggers or ())
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
    work_dir = request.experiment().work_dir
    with requests.listening(), said(work_dir), _held(Path(work_dir), request):
        experiment = request.experiment()  # with the newest checkpoint that there is now
        found = _set_up(experiment, request)
        is_lazy = isinstance(experiment, LazyExperiment)
        with less_memory_named(lambda: less_memory(experiment)), finite_loss():
            if request.eval_only:
                model = create_ddp_model(experiment.build())
                SafeCheckpointer(model).load(experiment.checkpoint)
                (evaluate_lazy if is_lazy else YamlTrainer.test)(experiment.cfg, model)
                end_run(Path(experiment.work_dir))
            else:
                train = train_lazy if is_lazy else train_yaml
                own = partial(writers, request.loggers or (), experiment, resumed=request.resume)
                train(experiment, request.resume, tunes=not request.no_tune, found=found, own=own)


def _held(work_dir: Path, request: Request) -> AbstractContextManager[None]:
    """Keeps other runs out of the work directory of a training."""
    if request.eval_only:
        return nullcontext()
    return alone_in(work_dir, is_first=comm.is_main_process(), goes_on=request.resume)


def _set_up(experiment: Experiment, request: Request) -> Found:
    """Sets up a process, its logs and its data sets; returns what was found in these."""
    # It logs the traceback of an error and raises it as well.
    logging.getLogger(TrainerBase.__module__).addFilter(lambda record: not record.exc_info)
    agree(experiment.checkpoint, f"--work-dir {experiment.work_dir}")
    default_setup(
        experiment.cfg, Namespace(config_file=str(experiment.path), eval_only=request.eval_only)
    )
    setup_logger(experiment.work_dir, distributed_rank=comm.get_rank(), name=LOGGER)
    if request.deterministic:
        be_deterministic()  # Detectron2 has set what its config says
    train = not request.eval_only
    found = use_completed(experiment, train=train, say=logger.info, warn=logger.warning)
    return {
        split: [found[name] for name in experiment.datasets(train=learned) if name in found]
        for split, learned in (("train", True), ("val", False))
    }


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
