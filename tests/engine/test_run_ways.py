"""The ways of convolutions in a run: who measures them, who has them, and when it goes on."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mmengine", reason="MMEngine is not installed")

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.utils.data import Dataset

from resnext_backbones.adapters.registry import DATASETS
from resnext_backbones.compute import tuned, tuning, ways
from resnext_backbones.compute.tables import ALL_PLAIN, Table, Ways, from_rows, to_rows
from resnext_backbones.engine import runner
from resnext_backbones.engine.config import for_training
from resnext_backbones.engine.run_ways import KEY, SWITCH
from resnext_backbones.errors import RunError
from resnext_backbones.models import ResNeXt
from resnext_backbones.models.architecture import Architecture

SHAPE = (4, 3, 32, 32)


def trunk() -> ResNeXt:
    return ResNeXt(Architecture(blocks=(1, 1), cardinality=4, base_width=4, stem_channels=8))


@MODELS.register_module(force=True)
class _Small(BaseModel):
    """Learns with a trunk; `spoilt` puts a module into it that tensors without values cannot go
    through, `kills` one that ends the processes that load data.
    """

    def __init__(self, compiled: bool = False, spoilt: bool = False, kills: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = trunk()
        if spoilt:
            self.trunk.layer1.append(_Reading())
        if kills:
            self.trunk.layer1.append(_Killing())
        if compiled:
            self.trunk.compile(backend="eager")

    def forward(self, inputs: Tensor, mode: str) -> Any:  # noqa: ARG002
        return {"loss": sum(y.square().mean() for y in self.trunk(inputs))}


class _Reading(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * (1 + 0 * x.max().item())


class _Killing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        for process in multiprocessing.active_children():
            process.kill()
            time.sleep(20)  # PyTorch raises as soon as it is gone
        return x


@DATASETS.register_module(force=True)
class _Noise(Dataset):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(index)
        return {"inputs": torch.randn(SHAPE[1:], generator=generator)}


def config(folder: Path, **given: Any) -> Config:
    """Two epochs of two steps."""
    cfg = Config(
        {
            "work_dir": str(folder),
            "model": {"type": "_Small"},
            "train_dataloader": {
                "batch_size": 4,
                "dataset": {"type": "resnext_backbones._Noise"},
                "sampler": {"type": "DefaultSampler", "shuffle": False},
                "collate_fn": {"type": "default_collate"},
            },
            "train_cfg": {"type": "EpochBasedTrainLoop", "max_epochs": 2},
            "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}},
            "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1}},
            "randomness": {"seed": 0},
            "launcher": "none",
            "experiment_name": folder.name,
        }
    )
    cfg.merge_from_dict(given)
    return cfg


def train(folder: Path, *, options: dict[str, Any] | None = None, **asked: Any) -> str:
    """Returns the log."""
    cfg = config(folder, **(options or {}))
    for_training(cfg, **asked)
    runner.train(cfg)
    return "".join(path.read_text() for path in sorted(folder.glob("*/*.log")))


def content(folder: Path, epoch: int = 2) -> dict[str, Any]:
    return torch.load(folder / f"epoch_{epoch}.pth", weights_only=False)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return content(folder)["message_hub"]["runtime_info"][KEY]["rows"]


def same(a: Path, b: Path) -> bool:
    one, other = (content(folder)["state_dict"] for folder in (a, b))
    return all(torch.equal(one[key], other[key]) for key in one)


def other_ways() -> Table:
    """Of each layer none that is plain."""
    work = tuning.layers_of(trunk(), SHAPE, torch.float32)
    table: Table = {}
    for layer, (n, _, h, w) in work:
        table.setdefault(layer, {})[n * h * w] = Ways(*(layer.ways()[-1],) * 3)
    return table


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Changes to another cache, which is empty at first; runs are allowed to measure."""
    monkeypatch.delenv(SWITCH)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def change(name: str) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / name))

    change("empty")
    yield change
    torch.set_num_threads(threads)
    ways.forget("cpu")


@pytest.mark.usefixtures("cache")
def test_the_first_step_is_measured_before_and_nothing_else_changes(tmp_path: Path) -> None:
    log = train(tmp_path / "tuned")
    table = tuned.read("cpu")
    assert f"convolutions: {len(other_ways())} kinds measured in " in log
    assert f"kept in {tuned.path('cpu')}" in log
    assert table.keys() == other_ways().keys()
    assert rows_of(tmp_path / "tuned") == to_rows(table)
    # The same numbers where all that was measured is plain.
    tuned.keep("cpu", {layer: dict.fromkeys(rows, ALL_PLAIN) for layer, rows in table.items()})
    log = train(tmp_path / "kept")
    assert f"convolutions: 0 of {len(table)} kinds are not plain, kept in" in log
    assert "plain, by --no-tune" in train(tmp_path / "plain", tune=False)
    assert rows_of(tmp_path / "plain") == []
    assert same(tmp_path / "kept", tmp_path / "plain")


def test_a_run_goes_on_in_the_ways_of_its_checkpoint(cache, tmp_path: Path) -> None:
    """Bit for bit, under another cache, an empty one and with --no-tune."""
    whole, first = tmp_path / "whole", str(tmp_path / "whole" / "epoch_1.pth")
    cache("other")
    tuned.keep("cpu", other_ways())
    train(whole)
    assert rows_of(whole) == to_rows(other_ways())
    train(tmp_path / "plain", tune=False)
    assert not same(whole, tmp_path / "plain"), "the ways round alike, and nothing is compared"
    cache("plain")
    tuned.keep("cpu", {layer: dict.fromkeys(r, ALL_PLAIN) for layer, r in other_ways().items()})
    for name, home, asked in (
        ("resumed", "plain", {}),
        ("empty", "empty", {}),
        ("no tune", "plain", {"tune": False}),
    ):
        cache(home)
        log = train(tmp_path / name, resume=first, **asked)
        assert "convolutions: as the checkpoint's run had them\n" in log
        assert same(whole, tmp_path / name), name
        assert rows_of(tmp_path / name) == rows_of(whole)
    assert not tuned.path("cpu").parents[1].with_name("empty").exists()


CHANGED = {
    "an unknown way": ("rows", lambda rows: rows[0]["ways"].update(forward="triton 7"), "triton 7"),
    "another device": ("device", None, "choice is for cuda, and this is cpu"),
    "no table": ("rows", lambda rows: rows[0].pop("weight"), "no table of ways: KeyError"),
    "elsewhere": (
        "measured_on",
        lambda on: on.update(threads=64),
        "though measured elsewhere (threads 64 -> 1); a new run measures them here",
    ),
}


def test_what_a_checkpoint_says_and_does_not_fit_here(cache, tmp_path: Path) -> None:
    cache("other")
    tuned.keep("cpu", other_ways())
    train(tmp_path / "begun")
    for name, (key, change, words) in CHANGED.items():
        checkpoint = content(tmp_path / "begun", 1)
        state = checkpoint["message_hub"]["runtime_info"][KEY]
        if change is None:
            state[key] = "cuda"
        else:
            change(state[key])
        torch.save(checkpoint, path := tmp_path / "epoch_1.pth")
        log = train(tmp_path / name, resume=str(path))
        assert words in log, name
        assert rows_of(tmp_path / name), name


def test_what_loads_data_and_is_gone_meanwhile_ends_the_run(cache, tmp_path: Path) -> None:
    cache("mine")
    options = {"model.kills": True, "train_dataloader.num_workers": 1}
    with pytest.raises(RunError, match="which loads data, is killed by signal: Killed"):
        train(tmp_path / "run", options=options)
    assert "cannot be measured" not in "".join(p.read_text() for p in tmp_path.rglob("*.log"))


def test_what_asks_for_plain_ways(cache, tmp_path: Path, monkeypatch) -> None:
    cache("other")
    tuned.keep("cpu", other_ways())
    before = torch.are_deterministic_algorithms_enabled()
    try:
        assert "plain, by --deterministic" in train(tmp_path / "repeats", deterministic=True)
    finally:
        torch.use_deterministic_algorithms(before)
    assert "plain, by --no-tune" in train(tmp_path / "setting", options={"tune": False})
    monkeypatch.setenv(SWITCH, "1")
    assert f"plain, by {SWITCH}" in train(tmp_path / "variable")
    monkeypatch.delenv(SWITCH)
    spoilt = train(tmp_path / "spoilt", options={"model.spoilt": True})
    assert spoilt.count("plain, since they cannot be measured: ") == 1
    for name in ("repeats", "setting", "variable", "spoilt"):
        assert rows_of(tmp_path / name) == []
    for name in ("setting", "variable", "spoilt"):
        assert same(tmp_path / "repeats", tmp_path / name), name


@pytest.mark.whole
@pytest.mark.usefixtures("cache")
def test_a_compiled_trunk_is_measured_as_well(tmp_path: Path) -> None:
    log = train(tmp_path, options={"model.compiled": True})
    assert log.count("kinds measured in") == 1
    assert len(rows_of(tmp_path)) == len(other_ways())


TWO = """
import json, os, sys
from pathlib import Path
rank, folder = os.environ["RANK"], Path(sys.argv[1])
os.environ["TORCH_HOME"] = str(folder / f"home_{rank}")
import torch
torch.set_num_threads(1)
from resnext_backbones.engine.processes import leave_processes, start_process
start_process("cpu")
import test_run_ways
from resnext_backbones.compute import tuned, ways
from resnext_backbones.engine import runner
if rank == "1":
    tuned.keep("cpu", test_run_ways.other_ways())
class See(runner.Hook):
    def after_train_iter(self, *_, **__):
        rows = test_run_ways.to_rows(ways.table("cpu"))
        (folder / f"rank_{rank}.json").write_text(json.dumps(rows))
runner.train(test_run_ways.config(folder / "run", launcher="pytorch"), See())
leave_processes()
"""


@pytest.mark.whole
@pytest.mark.usefixtures("cache")
def test_all_processes_have_the_ways_of_the_first(tmp_path: Path) -> None:
    """Also where another one's user has chosen others."""
    (tmp_path / "two.py").write_text(TWO)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc_per_node", "2", str(tmp_path / "two.py"), str(tmp_path)),
        ],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, other = (json.loads((tmp_path / f"rank_{i}.json").read_text()) for i in (0, 1))
    kept, others = from_rows("cpu", rows_of(tmp_path / "run"))[0], other_ways()
    assert from_rows("cpu", first)[0] == from_rows("cpu", other)[0] == kept
    assert kept.keys() == others.keys()
    assert kept != others
