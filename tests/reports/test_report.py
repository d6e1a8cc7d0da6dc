"""The page of a run: what is on it, and for which folders."""

from __future__ import annotations

import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mmengine", reason="MMEngine is not installed")
pytest.importorskip("pycocotools", reason="pycocotools is not installed")
pytest.importorskip("jinja2", reason="jinja2 is not installed")
pytest.importorskip("plotly", reason="plotly is not installed")

from run_folder import HOSTILE, STEPS

from resnext_backbones.cli import main
from resnext_backbones.engine import record
from resnext_backbones.reports.page import FILE_NAME, unasked
from resnext_backbones.reports.page.write import write_report

SECTIONS = [
    "trained", "data", "curves", "measured", "precision", "confusion", "images", "memory", "time",
]  # fmt: skip


class Read(HTMLParser):
    """What a page has: its sections, the text of each, its tags, and the addresses it names."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text: dict[str, str] = {}
        self._in = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        if tag == "section":
            self._in = given["id"] or ""
            self.text[self._in] = ""
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        self._in = "" if tag == "section" else self._in

    def handle_data(self, data: str) -> None:
        if self._in:
            self.text[self._in] += f" {data}"


def test_all_of_a_run_is_on_its_page(page: Path) -> None:
    read = Read(page)
    assert list(read.text) == SECTIONS
    for section, words in {
        "trained": ("resnext50_32x4d", "torchvision/resnext50_32x4d.v2", "cd" * 32, "stage 1"),
        "data": ("instances_val2017.json", "To train on", "To evaluate with"),
        "measured": (HOSTILE, "41.0", "62.0", "box AP50", "square", "cross"),
        "images": ("Best", "Worst", "truth", "found", ".jpg", "missed"),
        "memory": ("8.0 GiB", "7.4 GiB", "0.93", "planned"),
        "time": ("Resumed", f"{STEPS // 2}", "stopped, or running", "commit"),
    }.items():  # fmt: skip
        for word in words:
            assert word in read.text[section], (section, word)
    assert len(read.addresses) > 12
    assert all(a.startswith(("data:", "#")) for a in read.addresses), "it asks for nothing"
    assert read.tags.count("script") == 3, "plotly's, the figures and the page's own"
    assert HOSTILE not in page.read_text(encoding="utf-8")
    assert page.stat().st_size < 12_000_000


@pytest.mark.parametrize(
    ("kept", "sections"),
    [
        (
            "*/vis_data/*",
            ["trained", "curves", "measured", "memory", "time"],
        ),  # an engine's of before
        ("checkpoints.json", ["trained", "measured"]),
        ("record.json", ["trained", "data", "memory", "time"]),  # killed before a line was logged
        ("evaluation.json", ["trained", "measured"]),  # its detections are gone
    ],
)
def test_what_is_not_there_is_left_out(
    work_dir: Path, tmp_path: Path, kept: str, sections: list[str]
) -> None:
    for path in work_dir.glob(kept):
        to = tmp_path / path.relative_to(work_dir)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to)
    said: list[str] = []
    read = Read(write_report(tmp_path, tmp_path / FILE_NAME, say=said.append))
    assert list(read.text) == sections
    assert bool(said) == (kept == "evaluation.json")


def test_what_was_trained_is_of_the_start_that_was(tmp_path: Path) -> None:
    """One that failed before its first checkpoint, and a test in the same folder, are of others."""
    (tmp_path / "another.py").write_text("# of a test")
    (tmp_path / "mask_rcnn.py").write_text("# of the run")
    failed = {"facts": [("backbone", "resnext101_64x4d")], "weights": {"source": "other.pth"}}
    record.begin(tmp_path, from_step=0, config="another.py", **failed)
    own = {"facts": [("backbone", "resnext50_32x4d")], "config": "mask_rcnn.py"}
    record.begin(tmp_path, from_step=0, weights={}, **own)
    record.begin(tmp_path, from_step=50, weights={"source": "run/epoch_1.pth"}, **own)
    scalars = tmp_path / "20260101_000000" / "vis_data" / "scalars.json"
    scalars.parent.mkdir(parents=True)
    scalars.write_text('{"coco/bbox_mAP": 0.41, "step": 1}\n')
    record.note_evaluation(tmp_path, split="val", step=100, metrics={})  # nothing was found
    path = write_report(tmp_path, tmp_path / FILE_NAME, say=pytest.fail)
    read = Read(path)
    assert re.search(r"backbone\s+resnext50_32x4d", read.text["trained"])
    assert re.search(r"weights\s+random", read.text["trained"])
    assert re.findall("Start|Resumed", read.text["time"]) == ["Start", "Start", "Resumed"]
    assert "# of the run" in path.read_text(encoding="utf-8")
    assert "41.0" not in read.text.get("measured", "")


def test_a_page_without_pictures(work_dir: Path, tmp_path: Path, capsys) -> None:
    """A page can have nothing of a run's images, and plotly's script beside it."""
    out = tmp_path / "shown.html"
    main(["report", str(work_dir), "--out", str(out), "--no-pictures", "--plotly-beside"])
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["plotly.min.js", "shown.html"]
    assert out.stat().st_size < 1_000_000
    read = Read(out)
    assert list(read.text) == [section for section in SECTIONS if section != "images"]
    assert "plotly.min.js" in read.addresses
    assert "data:image/jpeg" not in out.read_text(encoding="utf-8")
    assert capsys.readouterr().err == ""


def test_a_classifiers_page(tmp_path: Path) -> None:
    logs = tmp_path / "20260101_000000" / "vis_data"
    logs.mkdir(parents=True)
    rows = [{"loss": 2.3, "lr": 0.1, "time": 0.2, "step": 1}, {"accuracy/top1": 0.76, "step": 1}]
    (logs / "scalars.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = Read(write_report(tmp_path, tmp_path / FILE_NAME, say=pytest.fail))
    assert list(read.text) == ["trained", "curves", "measured", "time"]
    assert "76.0" in read.text["measured"]


def test_detectron2s_scalars_are_read(tmp_path: Path) -> None:
    rows = [
        {"iteration": 19, "total_loss": 1.5, "lr": 0.1, "time": 0.2},
        {"iteration": 39, "total_loss": 1.0, "lr": 0.1, "time": 0.2, "bbox/AP": 37.5},
    ]
    (tmp_path / "metrics.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = Read(write_report(tmp_path, tmp_path / FILE_NAME, say=pytest.fail)).text
    assert list(text) == ["trained", "curves", "measured", "time"]
    assert "37.5" in text["measured"]
    assert re.search(r"steps\s+40", text["trained"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, "there is no such folder"),
        (Path.mkdir, "has no run in it"),
        (Path.touch, "is a file; name its folder"),
    ],
)
def test_a_wrong_folder_is_one_message(tmp_path: Path, capsys, make: Any, message: str) -> None:
    make(tmp_path / "wrong")
    with pytest.raises(SystemExit) as ended:
        main(["report", str(tmp_path / "wrong")])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: work directory {tmp_path / 'wrong'}: ")
    assert message in error
    assert error.count("\n") == 1


def test_the_page_of_a_run_ends_nothing(
    work_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its extra is missing, a file is damaged, or the page cannot be written."""
    monkeypatch.delenv(unasked.SWITCH)
    own = shutil.copytree(work_dir, tmp_path / "run")
    (own / FILE_NAME).unlink(missing_ok=True)

    def said() -> tuple[list[str], list[str]]:
        told: tuple[list[str], list[str]] = ([], [])
        unasked.write_page(own, *(each.append for each in told))
        return told

    (own / "detections.json").write_text('[{"image_id": ')
    info, warnings = said()
    assert not warnings
    assert "detections.json" in info[0]
    assert info[-1] == f"report: {own / FILE_NAME}"
    (own / "record.json").write_text('[{"facts": 3, "data": {"train": [{"summary": 4}]}}]')
    info, warnings = said()  # what is damaged is left out, and named
    assert not warnings
    for part in ("what was trained", "data"):
        assert any(f"{part}: not written: " in line for line in info), part
    assert info[-1] == f"report: {own / FILE_NAME}"
    (own / "record.json").unlink()
    (own / FILE_NAME).unlink()
    (own / FILE_NAME).mkdir()
    (warning,) = said()[1]
    assert re.match(rf"{FILE_NAME}: not written: \w+: ", warning)
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setattr(unasked, "find_spec", lambda name: None if name == "plotly" else name)
    (line,), nothing = said()
    assert not nothing
    assert 'plotly: pip install "resnext_backbones[report]", then resnext report' in line
