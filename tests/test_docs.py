"""What the documents say, run and compared."""

from __future__ import annotations

import json
import re
from pathlib import Path

import annotated
import pytest
from documents import blocks

from resnext_backbones.cli import COMMANDS
from resnext_backbones.data.annotations import read_annotations
from resnext_backbones.data.rules import Use
from resnext_backbones.errors import InputError
from resnext_backbones.extras import EXTRAS

ROOT = Path(__file__).parents[1]


def test_no_document_has_a_gap() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        assert not re.search(r"\b[A-Z]+_BLOCK\b", document.read_text(encoding="utf-8"))


def test_the_page_of_commands_has_their_extras() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \|.*\|(.*)\|$", text, re.M)
    assert [name for name, _ in rows] == list(COMMANDS)
    shown = {name: tuple(re.findall(r"`(\w+)`", cell)) for name, cell in rows}
    assert {name: extras for name, extras in shown.items() if extras} == EXTRAS


def test_every_file_that_a_document_names_is_there() -> None:
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        text = document.read_text(encoding="utf-8")
        written = re.findall(r"^# (configs/\w+\.py)$", text, re.M)  # by who reads the page
        for name in re.findall(r"\b((?:tools|configs|docs)/[\w/.]+\.(?:py|sbatch|md|json))", text):
            if name in written:
                continue
            assert (ROOT / name).is_file(), f"{document.name}: {name}"


def test_every_mmdetection_config_that_a_document_names_is_there() -> None:
    mmdet = pytest.importorskip("mmdet", reason="MMDetection is not installed")
    configs = Path(mmdet.__file__).parent / ".mim" / "configs"
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for name in re.findall(r"mmdet::([\w/.-]+\.py)", document.read_text(encoding="utf-8")):
            assert (configs / name).is_file(), name


def test_the_numbers_of_the_comparison_are_those_measured() -> None:
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    for path in (ROOT / "docs" / "benchmarks").glob("*.json"):
        result = json.loads(path.read_text(encoding="utf-8"))
        if "largest_loss_difference" not in result:
            continue
        assert f"docs/benchmarks/{path.name}" in text
        assert result["steps"] >= 20
        if result.get("unfolded", True):  # what was measured before there was folding says nothing
            assert result["largest_loss_difference"] <= 1e-3
        else:
            assert f"{result['largest_loss_difference']:.1e}" in text
        for seconds in result["median_seconds"].values():
            assert f"{seconds:.1f}" in text
        assert f"{result['seconds_ratio']:.2f}" in text
        assert result["hardware"] in text


def test_the_message_about_annotations_is_the_one_shown(tmp_path: Path, monkeypatch) -> None:
    (block,) = [b for b in blocks() if b.language == "text" and b.page == "docs/annotations.md"]
    content = annotated.content(20)
    for place in (16, 22, 24, 26):
        content["annotations"][place]["bbox"] = None
    content["annotations"][19]["segmentation"]["size"].reverse()
    folder = tmp_path / "data" / "annotations"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    name = "instances_train2017.json"
    path = annotated.write(folder, content, name).relative_to(tmp_path)
    with pytest.raises(InputError) as refused:
        read_annotations(path, Use(train=True, masks=True))
    assert f"error: {refused.value}\n" == block.text
