"""A config's name and the command line make the config that runs."""

from __future__ import annotations

import argparse
import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import resnext_backbones.adapters.distributions  # noqa: F401

import torch
from mmengine.config import Config, DictAction

from resnext_backbones.engine.catalogue import INSTALLED_CONFIGS, check_variant, find_config, joined
from resnext_backbones.engine.checks.outputs import check_folder
from resnext_backbones.engine.checks.settings import check_option
from resnext_backbones.engine.fit import log_warning, refuse_earlier_run
from resnext_backbones.engine.loggers import check_loggers
from resnext_backbones.engine.seeds import be_deterministic
from resnext_backbones.errors import BUILD_ERRORS, NO_GPU_FOR_FP16, InputError
from resnext_backbones.models.parts.stems import first_stride
from resnext_backbones.variants import VARIANTS

MOVED = {"detection": "mmdetection", "pretraining": "classification"}
"""Runs of earlier versions wrote these folders into their configs; those of `tasks` took over."""

EARLIER = re.compile(rf"resnext_backbones\.({'|'.join(MOVED)})\b((?:\.\w+)*)")

SPLITS = ("train", "val", "test")

NEEDED = {
    "training": ("train_cfg", "train_dataloader", "optim_wrapper"),
    "pretraining": ("val_cfg", "val_dataloader", "val_evaluator"),
    "an evaluation": ("test_dataloader", "test_evaluator"),
    "a prediction": ("test_dataloader",),
}
"""A config must have these for one."""

OWN_BACKBONES = tuple(
    f"resnext_backbones.{name}" for name in ("ResNeXt", "SEResNeXt", "RegNet", "CSPResNeXt")
)
"""Types of this package's trunk in a config of OpenMMLab's."""

AUTO = "auto"
"""A run goes on from the newest checkpoint that it has."""

BEGAN_WITH = "began_with"
"""A config holds under this name what going on from a checkpoint changes of it: values by place."""

RUN_LOGGER = "resnext_backbones.RunLogger"

RECIPES = ("imagenet", "cifar")
"""The configs in these folders take their network as an argument."""


def read_config(
    name: str,
    options: Sequence[str] | None = None,
    *,
    variant: str | None = None,
    work_dir: str | None = None,
    launcher: str = "none",
) -> Config:
    """Reads a config and applies what all commands share.

    Raises InputError where there is no such config, it cannot be read, or takes no such network.

    Args:
        name: as `find_config` takes.
        options: settings as on the command line: `optim_wrapper.optimizer.lr=0.01`.
        variant: as `use_variant` takes; None is the recipe's own.
        work_dir: for all output; None is the config's, or work_dirs/NAME by `run_name`.
        launcher: none, pytorch, slurm or mpi.
    """
    path = find_config(name)
    with naming(path):
        cfg = Config.fromfile(path)
        if variant is not None:
            use_variant(cfg, variant)
        # By the rules of MMEngine's own `--cfg-options`.
        parser = argparse.ArgumentParser(exit_on_error=False)
        parser.add_argument("options", nargs="*", action=DictAction)
        for option in options or ():
            if "=" not in option.lstrip("="):
                raise InputError(
                    f"--cfg-options {option}: give each as PLACE=VALUE, no spaces in it"
                )
        given = parser.parse_args(list(options or ())).options or {}
        for problem in (problem for option in given for problem in check_option(cfg, option)):
            log_warning(problem)
        cfg.merge_from_dict(given)
    for loader in (cfg.get(f"{split}_dataloader") or {} for split in SPLITS):
        if isinstance(loader, dict) and loader.get("num_workers") == 0:
            loader["persistent_workers"] = False  # there are none, and PyTorch refuses to keep them
    cfg.launcher = launcher
    run = run_name(cfg)
    if run != path.stem:  # which MMEngine would call the run in its log
        cfg.setdefault("experiment_name", run)
    cfg.work_dir = work_dir or cfg.get("work_dir") or str(Path("work_dirs") / run)
    check_folder("--work-dir", cfg.work_dir)
    return cfg


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Raises InputError, which names the config, of whatever goes wrong in it."""
    try:
        yield
    except InputError:
        raise
    except RecursionError as error:
        raise InputError(f"config {path}: one that it is based on is based on it again") from error
    except Exception as error:  # a config is a program
        if isinstance(error, ImportError) and (old := EARLIER.search(str(error))):
            new = f"resnext_backbones.tasks.{MOVED[old[1]]}{old[2]}"
            raise InputError(
                f"config {path}: is of an earlier version: it imports {old[0]}, which is {new} "
                "now; write that there, or take the config of this version with the options that "
                "its run began with"
            ) from error
        raise InputError(f"config {path}: {type(error).__name__}: {error}") from error


def check_parts(cfg: Any, use: str) -> None:
    """Raises InputError where a config lacks a part that is needed for a use, of `NEEDED`."""
    if absent := [part for part in NEEDED[use] if not cfg.get(part)]:
        raise InputError(f"config {cfg.filename}: has no {', '.join(absent)}, which {use} needs")


@contextmanager
def build_errors_named(cfg: Any) -> Iterator[None]:
    """Raises InputError, which names the config, of an argument that is wrong in it."""
    try:
        yield
    except BUILD_ERRORS as error:
        raise InputError(f"config {cfg.filename}: {error}") from error


def networks_of(cfg: Any) -> list[str]:
    """Returns the names that `use_variant` takes: the recipe's own `networks`, where it has such a
    table, else those of `VARIANTS`, either for small images or for large ones, as its own is.
    """
    network = _network(cfg)
    if network and cfg.get("networks"):
        return list(cfg.networks)
    if "variant" not in network:
        return []
    stride = first_stride(VARIANTS[network["variant"]].stem)
    return [name for name, row in VARIANTS.items() if first_stride(row.stem) == stride]


def use_variant(cfg: Any, name: str) -> None:
    """Puts another network into a recipe, or another backbone into a network of torchvision; raises
    InputError where it takes none of this name.
    """
    names, own, network = networks_of(cfg), cfg.get("networks"), _network(cfg)
    if not names:
        raise InputError(
            f"variant {name}: config {cfg.filename} is no recipe that takes one; set what is to be "
            "another with --cfg-options"
        )
    check_variant(name, names, cfg.filename)
    if own:
        for key in {key for settings in own.values() for key in settings}:
            network.pop(key, None)  # the network before may have had more of them
        network.update(own[name])
    else:
        network["variant"] = name


def use_cuda_graphs(cfg: Any) -> None:
    """Has the backbone capture its steps (`ResNeXt`'s `cuda_graphs`); raises InputError where it is
    another library's.
    """
    model = cfg.get("model", {})
    model = model if "backbone" in model else model.get("detector", {})
    backbone = model.get("backbone") or {}
    kinds = str(model.get("type")), str(backbone.get("type"))
    if not backbone or not any(kind.startswith("resnext_backbones.") for kind in kinds):
        raise InputError(
            f"--cuda-graphs: config {cfg.filename} has no backbone of this package; leave it out"
        )
    backbone["cuda_graphs"] = True


def run_name(cfg: Any) -> str:
    """Returns the name of a run: the config's, behind the network in this package's recipes.

    A recipe of somebody's own has its own name, also in front of the folder of an earlier run. The
    network of a recipe that was changed beyond its `networks` has no name.
    """
    path = Path(cfg.filename or "config.py")
    if path.resolve().parent not in [(INSTALLED_CONFIGS / name).resolve() for name in RECIPES]:
        return path.stem
    network = _network(cfg)
    tables = cfg.get("networks", {}).items() if network else ()
    own = (name for name, row in tables if all(network.get(k) == v for k, v in row.items()))
    return joined(next(own, network.get("variant") or ""), path.stem)


def _network(cfg: Any) -> Any:
    """Returns a recipe's network, or the backbone of a network of torchvision, which `network`
    names; {} where the config is of neither kind.
    """
    model = cfg.get("model", {})
    network = model.get("network")
    found = model.get("backbone") if isinstance(network, str) else network
    return found if isinstance(found, Mapping) else {}


def for_training(
    cfg: Config,
    *,
    resume: str | None = None,
    amp: str | None = None,
    deterministic: bool = False,
    tune: bool = True,
    loggers: Sequence[str] | None = None,
) -> None:
    """Applies the options of training to a config.

    Raises InputError where it is not for training, or where a run in its work directory would be
    overwritten.

    Args:
        resume: `AUTO` for the newest checkpoint of the work directory, and as without it where
            there is none; or a checkpoint's path.
        amp: `bf16`; or `fp16` with dynamic loss scaling, which without a GPU only warns.
        deterministic: as `make_deterministic`.
        tune: False measures no convolutions, and computes all of them plainly.
        loggers: of `engine.loggers`, in the place of TensorBoard, and of those that an earlier run
            wrote into its config; None leaves these.
    """
    check_parts(cfg, "training")
    if resume is None:
        refuse_earlier_run(Path(cfg.work_dir))
    else:
        cfg[BEGAN_WITH] = {"load_from": cfg.get("load_from")}
        cfg.resume = AUTO
        if resume != AUTO:
            cfg.resume, cfg.load_from = True, resume
    if not isinstance(cfg.get("tune", True), bool):
        raise InputError(f"config {cfg.filename}: tune is {cfg.tune!r}; use True or False")
    if not tune:
        cfg.tune = False
    _use_own_parts(cfg)
    if deterministic:
        make_deterministic(cfg)
    if amp == "bf16":
        for option in ("loss_scale", "dtype"):  # an AmpOptimWrapper's
            cfg.optim_wrapper.pop(option, None)
        cfg.optim_wrapper.type = "resnext_backbones.Bfloat16OptimWrapper"
    elif amp and torch.cuda.is_available():
        cfg.optim_wrapper.update(type="AmpOptimWrapper", loss_scale="dynamic")
    elif amp:
        log_warning(NO_GPU_FOR_FP16)
    if loggers and not cfg.get("visualizer"):
        raise InputError(f"--loggers: config {cfg.filename} has no visualizer; add one")
    backends = (cfg.get("visualizer") or {}).setdefault("vis_backends", [])
    if loggers is not None:
        use_loggers(backends, loggers)
    elif not any(b["type"] in ("TensorboardVisBackend", RUN_LOGGER) for b in backends):
        backends.append({"type": "TensorboardVisBackend"})


def use_loggers(backends: list[Any], names: Sequence[str]) -> None:
    """Puts loggers among a visualiser's backends, in the place of those before; raises InputError
    where one is not installed.
    """
    check_loggers(names)
    own = ("TensorboardVisBackend", RUN_LOGGER)
    backends[:] = [backend for backend in backends if backend["type"] not in own]
    backends += [{"type": RUN_LOGGER, "name": n, "logger": n} for n in dict.fromkeys(names)]


def of_a_new_run(cfg: Config) -> Config:
    """Returns the config of a run that goes on as it was at its beginning, which is what it writes:
    who takes it for a new run does not mean the checkpoint of this one.
    """
    if BEGAN_WITH not in cfg:
        return cfg
    first = copy.deepcopy(cfg)
    first.merge_from_dict({"resume": False, **first.pop(BEGAN_WITH)})
    return first


def leave_loggers(cfg: Config) -> None:
    """Takes the loggers of a training from the config that it wrote, for another use of it."""
    visualizer = cfg.get("visualizer") or {}
    if backends := visualizer.get("vis_backends"):
        visualizer["vis_backends"] = [b for b in backends if b["type"] != RUN_LOGGER]


def _use_own_parts(cfg: Config) -> None:
    """Puts this package's hooks, loop and file of scalars in the place of MMEngine's."""
    for backend in (cfg.get("visualizer") or {}).get("vis_backends") or ():
        if backend["type"] == "LocalVisBackend":
            backend["type"] = "resnext_backbones.LocalVisBackend"
    own = cfg.get("default_hooks", {})
    if (hook := own.get("logger")) and hook["type"] == "LoggerHook":
        hook["type"] = "resnext_backbones.LoggerHook"
    hook = own.get("checkpoint")
    # Elsewhere than in the work directory, MMEngine's storage backends write as they do.
    if hook and hook["type"] == "CheckpointHook" and not {"out_dir", "backend_args"} & hook.keys():
        hook["type"] = "resnext_backbones.CheckpointHook"
    by_epoch = "EpochBasedTrainLoop" if cfg.train_cfg.get("by_epoch", True) else ""
    if cfg.train_cfg.get("type", by_epoch) == "EpochBasedTrainLoop":
        cfg.train_cfg.pop("by_epoch", None)
        cfg.train_cfg.type = "resnext_backbones.EpochBasedTrainLoop"


def make_deterministic(cfg: Any) -> None:
    """Asks for what repeats, as `be_deterministic`, with the config's seed, or 0 without one."""
    be_deterministic()
    randomness = {"seed": 0, **(cfg.get("randomness") or {})}
    seed = randomness["seed"]
    cfg.randomness = {**randomness, "seed": 0 if seed is None else seed, "deterministic": True}
    # The fastest of cuDNN's algorithms is measured anew in each run.
    cfg.env_cfg = {**(cfg.get("env_cfg") or {}), "cudnn_benchmark": False}
