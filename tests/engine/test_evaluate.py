"""Which weights of a checkpoint are evaluated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS

from resnext_backbones.engine import hosts
from resnext_backbones.engine.runner import build_runner, evaluate


@MODELS.register_module()
class Two(BaseModel):
    """Returns its parameter and its buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.register_buffer("shift", torch.zeros(1))

    def forward(self, **_: Any) -> list[Tensor]:
        return [torch.cat([self.weight.detach(), self.shift])]


@DATASETS.register_module()
class One(Dataset):
    metainfo: dict[str, Any] = {}  # noqa: RUF012

    def __len__(self) -> int:
        return 1

    def __getitem__(self, _: int) -> dict[str, int]:
        return {"index": 0}


@METRICS.register_module()
class Seen(BaseMetric):
    def process(self, _: Any, data_samples: Any) -> None:
        self.results += data_samples

    def compute_metrics(self, results: list[Tensor]) -> dict[str, float]:
        return dict(zip(("weight", "shift"), results[0].tolist(), strict=True))


@METRICS.register_module()
class Bare(Seen):
    def __init__(self, prefix: str) -> None:
        super().__init__(prefix=prefix)


STATE = {"weight": torch.tensor([2.0]), "shift": torch.tensor([3.0])}
TRAINED = {"module.weight": torch.tensor([7.0]), "module.shift": torch.tensor([8.0])}
AVERAGED = {"state_dict": STATE, "ema_state_dict": {**TRAINED, "steps": torch.tensor(5)}}

EMA = {"type": "EMAHook"}
CASES: dict[str, tuple[dict[str, Any] | None, Any, str]] = {
    "averaged": (EMA, AVERAGED, "the averaged weights of"),
    "with buffers": ({**EMA, "update_buffers": True}, AVERAGED, "the averaged weights of"),
    "another average": (
        {**EMA, "ema_type": "StochasticWeightAverage"}, AVERAGED, "the averaged weights of"
    ),
    "no hook": (None, AVERAGED, "the averaged weights of"),
    "no averages": (EMA, {"state_dict": STATE}, "it has no averages, though the config has an EMA"),
    "neither": (None, {"state_dict": STATE}, "evaluated: the weights of"),
    "tensors alone": (EMA, STATE, "it has no averages"),
    "of a wrapper": (
        EMA, {"state_dict": {f"module.{k}": v for k, v in STATE.items()}}, "it has no averages"
    ),
}  # fmt: skip
"""A hook, what a checkpoint holds, and what the log says; `STATE` is evaluated."""


def config_of(tmp_path: Path, hook: dict[str, Any] | None, evaluator: Any) -> Config:
    loader = {"dataset": {"type": "One"}, "sampler": {"type": "DefaultSampler", "shuffle": False}}
    return Config({
        "model": {"type": "Two"}, "work_dir": str(tmp_path / "run"), "launcher": "none",
        "test_dataloader": {**loader, "batch_size": 1, "num_workers": 0}, "test_cfg": {},
        "test_evaluator": evaluator, "custom_hooks": [hook] if hook else [],
        "experiment_name": f"{tmp_path.name}",
    })  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_weights_that_a_checkpoint_is_for_are_evaluated(name: str, tmp_path: Path) -> None:
    hook, content, said = CASES[name]
    torch.save(content, tmp_path / "epoch_1.pth")
    cfg = config_of(tmp_path, hook, {"type": "Seen"})
    path = str(tmp_path / "epoch_1.pth")
    found = evaluate(cfg, path, tmp_path / "metrics.json", lambda metrics: f"{metrics}\n")
    assert found == {"weight": 2.0, "shift": 3.0}
    assert json.loads((tmp_path / "metrics.json").read_text())["weight"] == 2
    (log,) = (tmp_path / "run").glob("*/*.log")
    assert said in log.read_text()


def test_a_test_reads_no_data_of_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its page has the step of the checkpoint, and finds the images from any folder."""
    monkeypatch.setattr(One, "root", "images", raising=False)
    torch.save({"meta": {"iter": 12, "epoch": 1}, "state_dict": STATE}, tmp_path / "epoch_1.pth")
    cfg = config_of(tmp_path, None, {"type": "Seen"})
    absent = {"dataset": {"type": "Absent"}, "sampler": {"type": "DefaultSampler"}}
    cfg.train_dataloader, cfg.train_cfg = absent, {"by_epoch": True, "max_epochs": 1}
    cfg.optim_wrapper = {"optimizer": {"type": "SGD", "lr": 0.1}}
    path = str(tmp_path / "epoch_1.pth")
    evaluate(cfg, path, tmp_path / "metrics.json", lambda metrics: f"{metrics}\n")
    noted = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert (noted["split"], noted["step"]) == ("test", 12)
    assert noted["metrics"] == {"weight": 2, "shift": 3}
    assert noted["images"] == str(Path("images").absolute())


def test_metrics_of_several_hosts_need_no_folder_that_all_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where their class does not take an argument for it, as torchvision's here."""
    monkeypatch.setattr(hosts, "are_several", lambda: True)
    seen = [{"type": "Bare", "prefix": "a"}, {"type": "Seen", "collect_dir": str(tmp_path)}]
    runner = build_runner(config_of(tmp_path, None, seen), "test_loop")
    assert [m.collect_device for m in runner.test_loop.evaluator.metrics] == ["gpu", "cpu"]
