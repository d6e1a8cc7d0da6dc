"""What a run that goes on has of its config, and of the checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mmengine", reason="MMEngine is not installed")

import torch
from helpers import quick
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import METRICS, MODELS
from torch import Tensor, nn
from torch.utils.data import Dataset

from resnext_backbones.adapters.registry import DATASETS
from resnext_backbones.engine.checkpoints import Entry, MissedValidationHook, write_journal
from resnext_backbones.engine.resumed import CHECKPOINT, CONFIG, PROCESSES, ResumedSettingsHook
from resnext_backbones.engine.runner import CheckedRunner
from resnext_backbones.errors import InputError


@MODELS.register_module(force=True)
class _Line(BaseModel):
    """Learns a number, in two parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Linear(1, 1)

    def forward(self, inputs: Tensor, labels: Tensor, mode: str) -> Any:
        loss = (self.part(inputs) - labels).square().mean()
        return {"loss": loss} if mode == "loss" else [loss]


@DATASETS.register_module(force=True)
class _Numbers(Dataset):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"inputs": torch.tensor([float(index)]), "labels": torch.ones(1)}


class Rates(Hook):
    """Keeps the rate of each step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def before_train_iter(self, runner: Any, *_: Any, **__: Any) -> None:
        self.seen.append(runner.optim_wrapper.param_groups[0]["lr"])


STEPS = {"type": "MultiStepLR", "milestones": [1, 2], "gamma": 0.1}
WARM = {"type": "LinearLR", "start_factor": 0.5, "by_epoch": False, "end": 3}


def config(folder: Path, **given: Any) -> Config:
    """Two epochs of four steps, with settings of somebody's beside."""
    default = {
        "work_dir": str(folder),
        "model": {"type": "_Line"},
        "train_dataloader": {
            "batch_size": 2,
            "dataset": {"type": "resnext_backbones._Numbers"},
            "sampler": {"type": "DefaultSampler", "shuffle": False},
            "collate_fn": {"type": "default_collate"},
        },
        "train_cfg": {"type": "resnext_backbones.EpochBasedTrainLoop", "max_epochs": 2},
        "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}},
        "param_scheduler": [dict(WARM), dict(STEPS)],
        "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1}},
        "randomness": {"seed": 0},
        "log_level": "WARNING",
    }
    cfg = Config(default)
    cfg.merge_from_dict(given)
    return cfg


def train(cfg: Config, resume: Path | None = None) -> tuple[list[float], str]:
    """Returns the rates of the steps, and the log."""
    from resnext_backbones.engine import loop  # noqa: F401

    if resume is not None:
        cfg.resume, cfg.load_from = True, str(resume)
    cfg.experiment_name = f"{Path(cfg.work_dir).name}_{id(cfg)}"
    runner, rates = CheckedRunner.from_cfg(cfg), Rates()
    for hook in (rates, ResumedSettingsHook(), MissedValidationHook()):
        runner.register_hook(hook)
    runner.train()
    (log,) = Path(runner.log_dir).glob("*.log")
    return rates.seen, log.read_text()


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of the second epoch."""
    folder = tmp_path_factory.mktemp("begun")
    train(config(folder))
    return folder / "epoch_2.pth"


LONGER = {"train_cfg.max_epochs": 6}
CHANGED: dict[str, tuple[dict[str, Any], str]] = {
    "milestones": ({"param_scheduler.1.milestones": [4, 5]}, "milestones [1, 2] -> [4, 5]"),
    "another schedule": (
        {"param_scheduler": [{"type": "CosineAnnealingLR", "T_max": 6}]},
        "param_scheduler.0.type LinearLR -> CosineAnnealingLR",
    ),
    "no schedule": ({"param_scheduler": []}, "param_scheduler"),
    "a longer warm-up": ({"param_scheduler.0.end": 12}, "param_scheduler.0.end 3 -> 12"),
    "the rate": ({"optim_wrapper.optimizer.lr": 0.02}, "optimizer.lr 0.1 -> 0.02"),
    "the batch": (
        {
            "train_dataloader.batch_size": 4,
            "auto_scale_lr": {"enable": True, "base_batch_size": 2},
        },
        "train_dataloader.batch_size 2 -> 4",
    ),
}


@pytest.mark.parametrize("name", quick(CHANGED, {"milestones", "a longer warm-up", "the batch"}))
def test_the_configs_rates_hold(begun: Path, tmp_path: Path, name: str) -> None:
    """They are those of a run that had them from its beginning."""
    given, words = CHANGED[name]
    whole, _ = train(config(tmp_path / "whole", **LONGER, **given))
    rest, log = train(config(tmp_path / "rest", **LONGER, **given), begun)
    assert rest == whole[-len(rest) :]
    assert len(rest) == 4 * len(whole) // 6
    (line,) = [line for line in log.splitlines() if "resumed with other settings" in line]
    assert words in line
    assert f"{CONFIG} value holds" in line


def test_what_is_longer_alone_keeps_its_schedule(begun: Path, tmp_path: Path) -> None:
    whole, _ = train(config(tmp_path / "whole", **LONGER))
    rest, log = train(config(tmp_path / "rest", **LONGER), begun)
    assert rest == whole[8:]
    assert "train_cfg.max_epochs 2 -> 6" in log


def stopped(folder: Path, **given: Any) -> Path:
    """The checkpoint of the second step of the second epoch."""
    options = {"type": "resnext_backbones.CheckpointHook", "by_epoch": False, "interval": 6}
    train(config(folder, **{"default_hooks.checkpoint": options, **given}))
    return folder / "iter_6.pth"


OTHER_BATCH = {"train_dataloader.batch_size": 4}


def test_an_epoch_that_begins_anew_has_the_rates_of_its_steps(tmp_path: Path) -> None:
    """Also where the batch, and no rate, is another."""
    warm = {"param_scheduler.0.end": 10}
    given = {**warm, **OTHER_BATCH}
    whole, _ = train(config(tmp_path / "whole", **given))
    rest, log = train(config(tmp_path / "rest", **given), stopped(tmp_path, **warm))
    assert "epoch 2 begins anew" in log
    assert rest == whole[2:]


@METRICS.register_module(force=True)
class _Seen(BaseMetric):
    """Counts the images of an evaluation."""

    def process(self, _: Any, outputs: Any) -> None:
        self.results += outputs

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        return {"seen": len(results)}


def test_the_middle_of_an_epoch_is_not_evaluated(tmp_path: Path) -> None:
    """Where an epoch has another length now, neither."""
    loader = config(tmp_path).train_dataloader.to_dict()
    evaluated = {
        "val_dataloader": {**loader, "batch_size": 1}, "val_evaluator": {"type": "_Seen"},
        "val_cfg": {"type": "ValLoop"}, "log_level": "INFO",
    }  # fmt: skip
    begun = stopped(tmp_path / "begun", **evaluated)
    for given in ({}, OTHER_BATCH):
        folder = tmp_path / f"rest{len(given)}"
        folder.mkdir()
        shutil.copy(begun, folder)  # as a run that was killed before it evaluated leaves it
        write_journal(folder, [Entry("iter_6.pth", "", 6)])
        rest = config(folder, **evaluated, **given)
        _, log = train(rest, folder / "iter_6.pth")
        assert "was not evaluated yet" not in log


def test_evaluations_of_a_run_by_steps_have_their_steps(tmp_path: Path) -> None:
    loader = config(tmp_path).train_dataloader.to_dict()
    by_steps = {
        "train_cfg": {"_delete_": True, "type": "IterBasedTrainLoop", "max_iters": 6,
                      "val_interval": 2},
        "val_dataloader": loader, "val_cfg": {"type": "ValLoop"}, "param_scheduler": [],
        "val_evaluator": {"type": "_Seen", "prefix": "coco"},
        "default_hooks.logger": {"type": "resnext_backbones.LoggerHook", "interval": 1},
        "log_processor": {"by_epoch": False},
    }  # fmt: skip
    cfg = config(tmp_path)
    for key in ("train_cfg", "log_processor"):
        cfg[key] = {k: v for k, v in by_steps.pop(key).items() if k != "_delete_"}
    cfg.merge_from_dict(by_steps)
    train(cfg)
    (scalars,) = tmp_path.glob("*/vis_data/scalars.json")
    rows = [json.loads(line) for line in scalars.read_text().splitlines()]
    assert [row["step"] for row in rows if "coco/seen" in row] == [2, 4, 6]
    assert not any("epoch" in row for row in rows)


def test_no_checkpoint_is_between_the_parts_of_a_step(tmp_path: Path) -> None:
    often = {"type": "resnext_backbones.CheckpointHook", "interval": 1, "minutes": 1e-9}
    accumulated = {"optim_wrapper.accumulative_counts": 2, "default_hooks.checkpoint": often}
    accumulated["param_scheduler"] = []
    train(config(tmp_path, **accumulated))
    steps = {int(path.stem.removeprefix("iter_")) for path in tmp_path.glob("iter_*.pth")}
    assert steps == {2, 4, 6}


def test_what_is_the_same_is_not_touched(begun: Path, tmp_path: Path) -> None:
    """A rate that a hook of somebody's own has changed stays as the checkpoint has it."""
    content = torch.load(begun.with_name("epoch_1.pth"), weights_only=False)
    content["optimizer"]["param_groups"][0]["lr"] = 0.123
    torch.save(content, tmp_path / "epoch_1.pth")
    rates, log = train(config(tmp_path / "run"), tmp_path / "epoch_1.pth")
    assert rates == [0.123] * 4
    assert "other settings" not in log


def test_the_rate_follows_the_number_of_processes(tmp_path: Path) -> None:
    """Also where no schedule says what it is."""
    options = {"auto_scale_lr": {"enable": True, "base_batch_size": 4}, "param_scheduler": []}
    train(config(tmp_path / "run", **options))
    content = torch.load(tmp_path / "run" / "epoch_1.pth", weights_only=False)
    assert content["message_hub"]["runtime_info"][PROCESSES] == 1
    (was,) = {group["lr"] for group in content["optimizer"]["param_groups"]}
    content["message_hub"]["runtime_info"][PROCESSES] = 2
    for group in content["optimizer"]["param_groups"]:
        group["lr"] = 2 * was  # as two have it
    torch.save(content, tmp_path / "epoch_1.pth")
    rates, log = train(config(tmp_path / "rest", **options), tmp_path / "epoch_1.pth")
    assert set(rates) == {was}
    assert f"{CONFIG} value holds of processes 2 -> 1" in log


def test_other_values_of_the_optimiser_hold(begun: Path, tmp_path: Path) -> None:
    options = {
        "optim_wrapper.optimizer.momentum": 0.5,
        "optim_wrapper.optimizer.weight_decay": 1e-3,
    }
    cfg = config(tmp_path, **{"train_cfg.max_epochs": 3, "randomness.seed": 4, **options})
    _, log = train(cfg, begun)
    saved = torch.load(tmp_path / "epoch_3.pth", weights_only=False)
    (group,) = saved["optimizer"]["param_groups"]
    assert (group["momentum"], group["weight_decay"]) == (0.5, 1e-3)
    assert "momentum 0.9 -> 0.5" in log
    assert f"{CHECKPOINT} value holds of randomness.seed 0 -> 4" in log
    assert saved["meta"]["seed"] == 0


REFUSED = {
    "another optimiser": ({"optim_wrapper.optimizer": {"_delete_": True, "type": "AdamW"}}, "SGD"),
    "groups": ({"optim_wrapper.paramwise_cfg": {"bias_lr_mult": 2.0}}, "2 parameters in 1 groups"),
    "what is frozen": (
        {"optim_wrapper.paramwise_cfg": {"custom_keys": {"bias": {"lr_mult": 0.1}}}},
        "in 2",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_state_that_fits_nothing(begun: Path, tmp_path: Path, name: str) -> None:
    given, words = REFUSED[name]
    cfg = config(tmp_path, **LONGER)
    if "_delete_" in given.get("optim_wrapper.optimizer", ()):
        cfg.optim_wrapper.optimizer = {"type": "AdamW", "lr": 0.1}
    else:
        cfg.merge_from_dict(given)
    with pytest.raises(InputError, match=f"(?s){words}.*load_from="):
        train(cfg, begun)
    assert not list(tmp_path.glob("*.pth"))


def test_an_argument_of_an_optimiser_or_schedule_is_named(tmp_path: Path) -> None:
    for given in ({"optim_wrapper.optimizer.lr": -1.0}, {"param_scheduler.1.gammma": 0.5}):
        with pytest.raises(InputError, match="config None: "):
            train(config(tmp_path / str(len(given)), **given))
