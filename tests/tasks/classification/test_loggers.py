"""All loggers at once, without a network, and what they wrote read back."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pretraining_runs
import pytest
from pretraining_runs import run, same, weights

pytest.importorskip("mmengine", reason="MMEngine is not installed")
pytest.importorskip("wandb", reason="extra `loggers` is not installed")
pytest.importorskip("mlflow", reason="extra `loggers` is not installed")
pytest.importorskip("clearml", reason="extra `loggers` is not installed")

from resnext_backbones.engine.loggers import LOGGERS

ACCURACY = "accuracy/top1"
ALL = ("--loggers", *LOGGERS)


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {
        "WANDB_MODE": "offline",
        "CLEARML_OFFLINE_MODE": "1",
        "CLEARML_CACHE_DIR": str(tmp_path / "clearml"),
        "HOME": str(tmp_path),
    }
    monkeypatch.setattr(pretraining_runs, "ONE_THREAD", {**pretraining_runs.ONE_THREAD, **own})


@pytest.mark.whole
def test_all_log_offline_and_change_nothing(config: Path, finished: Path, tmp_path: Path) -> None:
    work_dir = tmp_path / "run"
    done = run(config, work_dir, *ALL)
    assert done.returncode == 0, done.stderr[-3000:]
    assert same(weights(finished), weights(work_dir))  # bit for bit what it is without loggers
    losses, top1 = logged(work_dir)
    assert list(READ) == list(LOGGERS)
    for name, read in READ.items():
        found = read(work_dir)
        assert found["loss"] == pytest.approx(losses), name
        assert found[ACCURACY] == pytest.approx(top1), name
        assert "max_epochs" in found["config"], name
        assert "tiny.py" in found["record"], name  # the command
    # The same runs where the service can: W&B's and MLflow's.
    names = json.loads((work_dir / "loggers.json").read_text())
    done = run(config, work_dir, "--resume", *ALL, "--cfg-options", "train_cfg.max_epochs=5")
    assert done.returncode == 0, done.stderr[-3000:]
    again = json.loads((work_dir / "loggers.json").read_text())
    assert {n for n in names if names[n] == again[n]} == {"wandb", "mlflow"}
    assert len(read_mlflow(work_dir)["loss"]) == 15
    assert len({path.name for path in (work_dir / "wandb").glob("offline*/*.wandb")}) == 1


@pytest.mark.whole
def test_a_run_that_is_broken_off_is_no_finished_one(config: Path, tmp_path: Path) -> None:
    """Its loss is no number any more; services that know of failure are told."""
    from mlflow import MlflowClient

    work_dir = tmp_path / "run"

    def status() -> str:
        client = MlflowClient(f"sqlite:///{work_dir / 'mlflow.db'}")
        (of,) = client.search_experiments(filter_string="name = 'resnext_backbones'")
        (found,) = client.search_runs([of.experiment_id])
        return found.info.status

    done = run(config, work_dir, *ALL, "--cfg-options", "optim_wrapper.optimizer.lr=1e30")
    assert done.returncode == 2, done.stderr[-2000:]
    assert "loss" in done.stderr
    assert status() == "FAILED"
    (path,) = work_dir.glob("wandb/offline*/*.wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    records = [Record.FromString(each) for each in wandb_records(path.read_bytes())]
    assert [each.exit.exit_code for each in records if each.HasField("exit")] == [1]
    assert "logger " not in done.stdout + done.stderr, "all took it"


def logged(work_dir: Path) -> tuple[dict[int, float], dict[int, float]]:
    """The losses and accuracies of the work directory's own log, by step."""
    (path,) = work_dir.glob("*/vis_data/scalars.json")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return tuple(
        {row["step"]: row[name] for row in rows if name in row} for name in ("loss", ACCURACY)
    )


def read_tensorboard(work_dir: Path) -> dict[str, Any]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (path,) = work_dir.glob("*/vis_data/events*")
    events = EventAccumulator(str(path)).Reload()
    found: dict[str, Any] = {
        name: {each.step: each.value for each in events.Scalars(name)}
        for name in ("loss", ACCURACY)
    }
    for name in ("config", "record"):
        (text,) = events.Tensors(f"{name}/text_summary")
        found[name] = text.tensor_proto.string_val[0].decode()
    return found


def read_wandb(work_dir: Path) -> dict[str, Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = work_dir.glob("wandb/offline*/*.wandb")
    found: dict[str, Any] = {"loss": {}, ACCURACY: {}, "config": "", "record": ""}
    for content in wandb_records(path.read_bytes()):
        record = Record.FromString(content)
        row = {
            item.key or ".".join(item.nested_key): json.loads(item.value_json)
            for item in record.history.item
        }
        for name in {"loss", ACCURACY} & row.keys():
            found[name][row["step"]] = row[name]
        for item in [*record.run.config.update, *record.config.update]:
            name = item.key or item.nested_key[0]
            found["record" if name == "record" else "config"] += f"{name} {item.value_json}"
    return found


def wandb_records(content: bytes) -> Iterator[bytes]:
    """The records of LevelDB's log format, behind W&B's header of 7 bytes."""
    place, parts = 7, b""
    while place + 7 <= len(content):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last of several
            yield parts
            parts = b""


def read_mlflow(work_dir: Path) -> dict[str, Any]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{work_dir / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("resnext_backbones").experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", work_dir.name)
    assert run.data.params["train_cfg.max_epochs"] == "4"
    found: dict[str, Any] = {
        name: {each.step: each.value for each in client.get_metric_history(run.info.run_id, name)}
        for name in ("loss", ACCURACY)
    }
    for name, file in (("config", "config.py"), ("record", "record.json")):
        (path,) = (work_dir / "mlflow").glob(f"*/artifacts/{file}")
        found[name] = path.read_text()
    return found


def read_clearml(work_dir: Path) -> dict[str, Any]:
    (folder,) = (work_dir.parent / "clearml" / "offline").glob("offline-*/")
    found: dict[str, Any] = {"loss": {}, ACCURACY: {}}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        for event in json.loads(line):
            if event["metric"] in found:
                found[event["metric"]][event["iter"]] = event["value"]
    task = json.loads((folder / "task.json").read_text())
    for name, configuration in (("config", "General"), ("record", "record")):
        found[name] = task["configuration"][configuration]["value"]
    return found


READ = {
    "tensorboard": read_tensorboard,
    "wandb": read_wandb,
    "mlflow": read_mlflow,
    "clearml": read_clearml,
}
