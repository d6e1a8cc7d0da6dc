"""What is wrong in a config is named before anything is built, in any task."""

from __future__ import annotations

import copy
import importlib.util
import inspect
import re
from typing import Any

import pytest

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from helpers import quick
from mmengine.config import Config
from mmengine.runner import Runner

from resnext_backbones.engine.catalogue import config_names
from resnext_backbones.engine.checks.arguments import arguments
from resnext_backbones.engine.checks.packages import PACKAGES, check_packages
from resnext_backbones.engine.checks.settings import READ, check_option, unreached, unread
from resnext_backbones.engine.checks.table import check_run
from resnext_backbones.engine.config import read_config
from resnext_backbones.engine.walk import walk
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.engines import MMDETECTION, engine_of


@pytest.fixture(scope="module")
def read() -> Config:
    return read_config("cifar/cifar10")


@pytest.fixture
def cfg(read: Config, tmp_path) -> Config:
    found = copy.deepcopy(read)
    found.work_dir = str(tmp_path / "run")
    return found


REFUSED: dict[str, tuple[Any, str]] = {
    "optim_wrapper.optimizer.lrr": (1, r"optimizer.lrr: SGD takes no such argument; try lr"),
    "optim_wrapper.optimizer.type": ("SDG", r"type SDG: nothing of this name.*try SGD"),
    "optim_wrapper.optimizr": ({}, r"optim_wrapper.optimizr: OptimWrapper takes no such"),
    "optim_wrapper.clip_grad": ({"max_nrom": 1}, r"clip_grad.max_nrom: .*try max_norm"),
    "optim_wrapper.paramwise_cfg": ({"norm_decay": 0}, r"norm_decay: nothing.*norm_decay_mult"),
    "param_scheduler": ([{"type": "MultiStepLR", "milestone": [1]}], r"0.milestone: .*milestones"),
    "default_hooks.logger.intervall": (1, r"logger.intervall: .*interval"),
    "default_hooks.checkpoint.save_best": ("acuracy/top1", r"save_best acuracy/top1: .*accuracy/"),
    "custom_hooks": ([{"type": "EarlyStoppingHook"}], r"custom_hooks.0: .*needs monitor"),
    "train_cfg.max_epoch": (1, r"train_cfg.max_epoch: .*try max_epochs"),
    "train_dataloader.batchsize": (4, r"train_dataloader.batchsize: nothing.*batch_size"),
    "train_dataloader.sampler.shufle": (True, r"sampler.shufle: .*shuffle"),
    "val_dataloader.dataset.rot": ("data", r"val_dataloader.dataset.rot: .*try root"),
    "val_evaluator.typ": ("x", r"val_evaluator.typ: Accuracy takes no such"),
    "val_evaluator": ({"topk": (1,)}, r"val_evaluator: has no type"),
    "visualizer.vis_backends": ([{"type": "LocalBackend"}], r"backends.0.type LocalBackend"),
    "randomness.sead": (1, r"randomness.sead: .*try seed"),
    "env_cfg.cudnn_benchmrk": (1, r"env_cfg.cudnn_benchmrk: .*try cudnn_benchmark"),
    "auto_scale_lr.base_batch": (1, r"auto_scale_lr.base_batch: .*base_batch_size"),
    "work_dir": (__file__, r"--work-dir .*: is a file"),
}


@pytest.mark.parametrize("place", REFUSED)
def test_a_setting_that_is_wrong(cfg: Config, place: str) -> None:
    value, words = REFUSED[place]
    *parents, last = place.split(".")
    node = cfg
    for key in parents:
        node = node[key]
    node[last] = value
    with pytest.raises(InputError, match=f"(?s){words}"):
        check_run(cfg, "train")


OWN = [name for name in config_names() if not name.startswith("detectron2/")]
QUICK = {
    "imagenet/a2",
    "torchvision/mask_rcnn_x50_32x4d_fpn_coco",
    "torchvision/fcn_x50_32x4d_coco",
}


@pytest.mark.parametrize("name", quick(OWN, QUICK))
def test_own_configs_are_right(name: str, tmp_path) -> None:
    if engine_of(name) == MMDETECTION:
        pytest.importorskip("resnext_backbones.tasks.mmdetection.run", exc_type=ImportError)
    found = read_config(name, work_dir=str(tmp_path))
    check_run(found, "train")
    assert not list(unread(found))


OPTIONS = {
    "optim_wraper.optimizer.lr": InputError,
    "nothing.of.this": InputError,
    "learning_rate": InputError,
    "num_workers": "the config has computed with it already.*set train_dataloader.num_workers",
    "data_root": "the config has computed with it already.*; give --data-root",
    "optim_wrapper.optimizer.lr": None,
    "auto_scale_lr.enable": None,
    "custom_hooks.0.interval": None,
    "env_cfg.mp_cfg.opencv_num_thread": "mp_cfg had no opencv_num_thread, but opencv_num_threads",
    "env_cfg.mp_cfg.something": None,
    "find_unused_parameters": None,
    "load_from": None,
}


@pytest.mark.parametrize("option", OPTIONS)
def test_a_setting_of_the_command_line(read: Config, option: str) -> None:
    wanted = OPTIONS[option]
    if wanted is InputError:
        with pytest.raises(InputError, match=f"--cfg-options {option}: .*nothing reads it; try"):
            list(check_option(read, option))
        return
    said = "\n".join(check_option(read, option))
    assert bool(said) == (wanted is not None), said
    assert not wanted or re.search(str(wanted), said), said


def test_entries_that_nothing_reads_are_told_of() -> None:
    entries = {
        "optim_wraper": {}, "train_dataloder": {}, "lr_config": {}, "data": {}, "default_hook": {},
        "train_pipeline": [], "max_epochs": 3, "model": {}, "val_evaluator": {},
    }  # fmt: skip
    said = list(unread(entries))
    assert len(said) == 5
    assert all(any(f"nothing reads {name}" in line for line in said) for name in list(entries)[:5])


def test_milestones_that_are_not_reached_are_told_of() -> None:
    schedules = [
        {"type": "LinearLR", "end": 500},
        {"type": "MultiStepLR", "milestones": [8, 11], "end": 12},
        {"type": "MultiStepLR", "milestones": [67, 92]},  # which ends with the run
        {"type": "MultiStepLR", "milestones": [8, 12, 92], "end": 12},
    ]
    built = {f"param_scheduler.{i}": schedule for i, schedule in enumerate(schedules)}
    (said,) = unreached({}, built)
    assert said.startswith("param_scheduler.3.milestones: 12, 92 are not reached, since its end is")


def test_what_the_runner_reads_is_known() -> None:
    """MMEngine may take more with another version."""
    asked = set(re.findall(r"cfg\.get\(\s*'(\w+)'", inspect.getsource(Runner.from_cfg)))
    assert {"train_dataloader", "param_scheduler", "custom_hooks"} <= asked <= READ


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    module, package = PACKAGES[name]
    cfg = Config({"visualizer": {"inner": [{"type": f"mmdet.{name}"}]}})
    built = dict(walk(cfg.visualizer, "visualizer"))
    path = "resnext_backbones.engine.checks.packages.find_spec"
    monkeypatch.setattr(path, lambda name: None if name == module else importlib.util.find_spec)
    with pytest.raises(InputError, match=f"visualizer has a {name}, .*{module}.*pip install"):
        check_packages(cfg, built)
    assert package
    monkeypatch.setattr(path, lambda _: object())
    check_packages(cfg, built)


class Base:
    def __init__(self, first, second=2): ...


class HandsOn(Base):
    def __init__(self, *args, third, **kwargs): ...


class TakesAll:
    def __init__(self, one=1, **rest): ...


def test_what_a_class_takes_is_what_its_bases_take() -> None:
    assert arguments(HandsOn) == ({"first", "second", "third"}, {"third"}, False)
    assert arguments(TakesAll) == ({"one"}, set(), True)
    assert arguments(lambda a, b=1: (a, b)) == ({"a", "b"}, {"a"}, False)
