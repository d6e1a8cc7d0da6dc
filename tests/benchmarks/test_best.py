"""Every contestant in its settings: which are tried, which are dropped, and which one counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from benchmarks import best, run
from benchmarks.contestants import OWN
from benchmarks.job import Entry, Job, Setting

SETTING = Setting("inference", "resnext26_32x4d", 1, ((64, 64),), "cpu")


def row(contestant: str, *seconds: float, trial: float = 1.0, **settings: str) -> best.Row:
    entry = Entry(contestant, **settings)
    found: dict[str, Any] = {"seconds": list(seconds), "trial": trial, "dropped": False}
    return {"label": entry.label, **vars(entry), **found, "median": sum(seconds) or trial}


def labels(rows: list[best.Row]) -> list[str]:
    return [each["label"] for each in rows]


def test_a_peer_gets_the_memory_format_that_it_does_not_have_and_we_get_ours_taken() -> None:
    entries = best.entries("inference", [OWN, "timm"], ["float32"], modes=["eager", "frozen"])
    found = [entry.label for entry in entries if entry.is_possible(SETTING)]
    assert found[:3] == [OWN, f"{OWN}, plain", f"{OWN}, frozen"]
    assert f"{OWN}, plain, frozen, contiguous" in found
    expected = ["timm", "timm, frozen", "timm, channels_last", "timm, frozen, channels_last"]
    assert found[8:] == expected
    training = replace(SETTING, task="detector")
    assert not any(entry.is_possible(training) for entry in entries if entry.mode == "frozen")


def test_what_takes_long_to_compile_is_compiled_in_the_faster_memory_format() -> None:
    entries = best.entries("detector", ["timm"], ["float32"], modes=["eager", "compiled"])
    first, second = best.stages([entry for entry in entries if entry.is_possible(SETTING)])
    assert [entry.label for entry in first([])] == ["timm", "timm, channels_last"]
    rows = [row("timm", trial=2.0), row("timm", trial=1.9, layout="channels_last")]
    assert [entry.label for entry in second(rows)] == ["timm, compiled, channels_last"]


def test_what_cannot_be_the_best_is_dropped_and_never_another_contestants() -> None:
    rows = [
        row("timm", trial=1.0),
        row("timm", trial=1.4, layout="channels_last"),
        row("timm", trial=1.6, mode="compiled"),
        row(OWN, trial=3.0),
        row(OWN, trial=5.0, ways="plain"),
        row("timm", trial=9.0, precision="bfloat16"),
    ]
    (dropped,) = best.slow(rows)
    assert dropped["label"] == "timm, compiled"
    dropped["dropped"] = True
    assert best.slow(rows) == []
    for each in rows:
        each["seconds"] = [each["trial"]] * 2
    assert labels(best.slow(rows)) == ["timm, channels_last"], "two turns tell more than one"
    assert labels(best.fastest(rows)) == ["timm", OWN, f"{OWN}, plain", "timm"]


def test_the_ratio_is_to_the_best_peer_in_its_best_setting() -> None:
    rows = [
        row(OWN, 1.2),
        row(OWN, 0.9, layout="contiguous"),
        row("timm", 2.0),
        row("torchvision", 1.5),
        row("torchvision", 1.0, layout="channels_last"),
        row("resnet", 0.1),
    ]
    best.add_ratios(rows)
    assert [each["ratio"] for each in rows] == pytest.approx([1.2, 0.9, 2.0, 1.5, 1.0, 0.1])
    first = [f"{OWN}, contiguous", "timm", "torchvision, channels_last", "resnet"]
    found = best.ordered(rows)
    assert labels(found) == [*first, OWN, "torchvision"]
    assert [each["best"] for each in found] == [True] * 4 + [False] * 2


@pytest.mark.parametrize("name", ["torchvision", "timm", "mmdetection", "detectron2"])
def test_a_peers_norms_are_folded_for_inference(name: str) -> None:
    setting = replace(SETTING, variant="resnext50_32x4d")
    entry = Entry(name, "float64", mode="fused")
    if not entry.is_possible(setting):
        pytest.skip(f"{name} is not installed")
    folded = Job(setting, entry)
    kinds = [type(module).__name__ for module in folded.module.modules()]
    assert not any("BatchNorm" in kind for kind in kinds)
    plain = Job(setting, replace(entry, mode="eager")).warm_up()
    for key, value in folded.warm_up().items():
        assert (value - plain[key]).norm() <= 1e-10 * plain[key].norm()


def test_ours_can_be_asked_to_leave_its_channels_where_they_are() -> None:
    for layout, last in (("own", True), ("contiguous", False)):
        job = Job(SETTING, Entry(OWN, layout=layout))
        output = job.forward(job.images[0])[0]
        assert (output.stride(1) == 1) == last


class Process:
    is_closed = False

    def __init__(self, _: Setting, entry: Entry, __: Any) -> None:
        self.entry = entry

    def call(self, *_: Any) -> int:
        return 0

    def close(self) -> None:
        self.is_closed = True


def test_what_several_at_once_have_no_memory_for_is_prepared_alone(monkeypatch, tmp_path) -> None:
    """By a process of its own: one that had too little holds half of a step."""
    tried: list[tuple[str, bool]] = []

    def prepare(*arguments: Any) -> best.Row:
        entry = arguments[-1].entry
        tried.append((entry.mode, arguments[-1].is_closed))
        if entry.mode == "compiled" and len(tried) < 4:
            raise torch.OutOfMemoryError
        return {"label": entry.label}

    monkeypatch.setattr(run, "Worker", Process)
    monkeypatch.setattr(run, "_reference", lambda *_: {})
    monkeypatch.setattr(run, "_prepare", prepare)
    entries = [Entry("timm", mode=mode) for mode in ("eager", "compiled", "fused")]
    field = run._Field(SETTING, entries, {}, tmp_path, lambda _: None)
    added = field.add(entries)
    assert tried == [(mode, False) for mode in ("eager", "compiled", "fused", "compiled")]
    assert [(each.entry.label, row["label"]) for each, row in added] == [
        (entry.label, entry.label) for entry in entries
    ]


def test_a_peer_that_cannot_be_prepared_is_left_out(monkeypatch, tmp_path) -> None:
    def prepare(*arguments: Any) -> best.Row:
        entry = arguments[-1].entry
        if entry.layout == "contiguous":
            raise RuntimeError("no such kernel\nand a trace")
        return {"label": entry.label, "contestant": entry.contestant, "dropped": False}

    monkeypatch.setattr(run, "Worker", Process)
    monkeypatch.setattr(run, "_reference", lambda *_: {})
    monkeypatch.setattr(run, "_prepare", prepare)
    fails, works = (Entry("timm", layout=layout) for layout in ("contiguous", "own"))
    field = run._Field(SETTING, [], {}, tmp_path, lambda _: None)
    ((left, row),) = field.add([fails, works])
    assert left.entry.label == row["label"] == works.label
    error = {"label": fails.label, "precision": "float32", "error": "RuntimeError: no such kernel"}
    assert field.failed == [error]
    assert len(field.workers) == len(field.rows) == 1
    own = (Entry(OWN, layout=layout, ways="plain") for layout in ("contiguous", "own"))
    with pytest.raises(RuntimeError, match=r"^no such kernel"):
        field.add([next(own)])
    with pytest.raises(
        RuntimeError, match=rf"^{fails.label} failed: RuntimeError: no such kernel$"
    ):
        run.run(SETTING, [fails, next(own)], turns=0, say=lambda _: None)
