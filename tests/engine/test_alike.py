"""What is compared between hosts, and what may differ."""

from __future__ import annotations

from pathlib import Path

from resnext_backbones.engine.alike import facts_of


def test_settings_that_are_places_are_not_compared(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "a.json").write_text("{}")
    dataset = {"data_root": str(tmp_path), "ann_file": "a.json", "data_prefix": {"img": "images/"}}
    cfg = {"work_dir": "here", "lr": 0.1, "train_dataloader": {"dataset": dataset}}
    facts = facts_of(cfg, ("train_dataloader",), leads=True)
    assert "config, work_dir" not in facts
    assert facts["config, lr"] == "0.1"
    assert "config, train_dataloader.dataset.data_root" not in facts
    assert facts["data set, train_dataloader.dataset.ann_file"].startswith("SHA-256 44136fa355b3")
    (tmp_path / "a.json").write_text("{ }")
    other = facts_of(cfg, ("train_dataloader",), leads=True)
    assert [name for name in facts if facts[name] != other[name]] == [
        "data set, train_dataloader.dataset.ann_file"
    ]
    tested = facts_of(cfg, (), leads=True, checkpoint=str(tmp_path / "a.json"))
    assert tested["checkpoint to test"] == other["data set, train_dataloader.dataset.ann_file"]
    assert "checkpoint to test" not in facts_of(cfg, (), leads=False, checkpoint="a.json")
