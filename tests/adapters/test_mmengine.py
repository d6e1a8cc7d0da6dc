"""What MMEngine loads is read as weights are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hostile import MARK
from weight_files import BAD

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from mmengine.logging import MessageHub
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader, load_checkpoint
from mmengine.runner.checkpoint import _load_checkpoint_with_prefix
from torch import nn

from resnext_backbones.adapters.mmengine import load_from_checked
from resnext_backbones.weights import WeightsError


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def by_init_cfg(path: str) -> None:
    init_cfg = {"type": "Pretrained", "checkpoint": path}
    network = type("Neck", (BaseModule,), {})(init_cfg=init_cfg)
    network.conv = nn.Conv2d(1, 1, 1)
    network.init_weights()


DOORS = {
    "load_checkpoint": lambda path: load_checkpoint(nn.Linear(1, 1), path),
    "prefix": lambda path: _load_checkpoint_with_prefix("neck", path),
    "init_cfg of another part": by_init_cfg,
    "file://": lambda path: CheckpointLoader.load_checkpoint(Path(path).absolute().as_uri()),
}


@pytest.mark.parametrize("door", DOORS)
def test_mmengines_own_doors_run_nothing(door: str) -> None:
    state = {"weight": torch.ones(1, 1)}
    hostile = {name: make for name, make in BAD.items() if ":" in name or name in OTHERS}
    assert len(hostile) > len(OTHERS)
    for number, (what, make) in enumerate(hostile.items()):
        path = Path(f"{number}.pth")
        path.write_bytes(make(state))
        with pytest.raises(WeightsError, match=path.name):
            DOORS[door](str(path))
        assert not MARK.exists(), what


OTHERS = ("a page of the web", "nothing")


def test_all_names_and_addresses_are_read_by_one_function() -> None:
    assert {"", "http://", "https://", "open-mmlab://", "mmcls://"} <= set(
        CheckpointLoader._schemes
    )
    assert set(CheckpointLoader._schemes.values()) == {load_from_checked}


def test_a_program_in_a_checkpoint_is_not_handed_on() -> None:
    """MMEngine's `resume` makes a config of this text, which runs it."""
    torch.save({"meta": {"config": f"open({str(MARK)!r}, 'w')", "epoch": 1}}, "a.pth")
    assert load_from_checked("a.pth")["meta"] == {"epoch": 1}


def test_a_run_goes_on_with_what_its_log_is_smoothed_over() -> None:
    hub = MessageHub("a")
    for value in (1.5, 2.5, 4.0):
        hub.update_scalar("train/loss", value, count=2)
    hub.update_info("epoch", 3)
    torch.save({"message_hub": hub.state_dict(), "state_dict": {}}, "a.pth")
    other = MessageHub("b")
    other.load_state_dict(load_from_checked("a.pth")["message_hub"])
    found, expected = other.get_scalar("train/loss"), hub.get_scalar("train/loss")
    for ours, theirs in zip(found.data, expected.data, strict=True):
        assert ours.tolist() == theirs.tolist()
        assert ours.dtype == theirs.dtype
    found.update(8.0)
    assert found.mean(2) == (4.0 + 8.0) / (2 + 1)
    assert other.get_info("epoch") == 3


def test_plain_values_stay_what_they_are() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2))
    content: dict[str, Any] = {
        "state_dict": network.state_dict(),
        "meta": {"dataset_meta": {"classes": ("a", "b"), "palette": [(1, 2, 3)]}},
        "param_schedulers": [{"last_step": 3, "milestones": [8, 11]}],
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{}]},
    }
    torch.save(content, "a.pth")
    found = load_from_checked("a.pth")
    assert found["meta"] == content["meta"]
    assert found["param_schedulers"] == content["param_schedulers"]
    assert found["state_dict"]._metadata == network.state_dict()._metadata
    buffer = found["optimizer"]["state"][0]["momentum_buffer"]
    Path("a.pth").write_bytes(bytes(Path("a.pth").stat().st_size))  # in place, as `cp` does
    assert buffer.tolist() == [1, 1]


@pytest.mark.parametrize("nested", [lambda v: [v], lambda v: (v, v), lambda v: {"a": [{"b": v}]}])
def test_tensors_at_any_depth_are_no_larger_than_their_file(nested: Any) -> None:
    torch.save({"optimizer": nested(torch.zeros(1).expand(10**6, 10**6))}, "a.pth")
    with pytest.raises(WeightsError, match="refused"):
        load_from_checked("a.pth")


def test_values_that_hold_each_other_end() -> None:
    value: Any = torch.ones(1)
    for _ in range(60):
        value = (value, [value])
    torch.save({"a": value}, "a.pth")
    assert isinstance(load_from_checked("a.pth")["a"], tuple)
