"""What the documents say, run and compared."""

from __future__ import annotations

import json
import re
import statistics
import textwrap
from pathlib import Path

import pytest
import torch

from resnext_backbones import ResNeXtClassifier, build_backbone
from resnext_backbones.build import architecture_and_options
from resnext_backbones.cli import COMMANDS
from resnext_backbones.extras import EXTRAS
from resnext_backbones.weights.download import path_of
from resnext_backbones.weights.identify import network_name
from resnext_backbones.weights.registry import REGISTRY

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def indented_blocks(text: str) -> list[str]:
    """The code of a Markdown text."""
    return [
        textwrap.dedent(block) for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", text, re.M)
    ]


def test_the_readmes_own_detector_runs(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    downloaded = path_of(REGISTRY["open-mmlab/resnext101_32x4d"].file)
    downloaded.parent.mkdir(parents=True)
    torch.save(build_backbone("resnext101_32x4d").state_dict(), downloaded)
    code = next(block for block in indented_blocks(README) if "load_weights(" in block)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    exec(code, {})
    printed = capsys.readouterr().out.strip()
    assert printed == re.search(r"print\(.*\)  # (.*)", code)[1]


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
        for name in re.findall(r"\b((?:tools|configs|docs)/[\w/.]+\.(?:py|sbatch|md|json))", text):
            assert (ROOT / name).is_file(), f"{document.name}: {name}"


def test_every_mmdetection_config_that_a_document_names_is_there() -> None:
    mmdet = pytest.importorskip("mmdet", reason="MMDetection is not installed")
    configs = Path(mmdet.__file__).parent / ".mim" / "configs"
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for name in re.findall(r"mmdet::([\w/.-]+\.py)", document.read_text(encoding="utf-8")):
            assert (configs / name).is_file(), name


@pytest.mark.whole
def test_the_configs_that_the_training_page_shows_are_read(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("mmdet", reason="MMDetection is not installed")
    from resnext_backbones.engine.checks.network import build_on_meta
    from resnext_backbones.tasks.mmdetection.config import load_config

    monkeypatch.setenv("COCO_ROOT", "/data/coco")
    blocks = indented_blocks((ROOT / "docs" / "training.md").read_text(encoding="utf-8"))
    stock, as_here, own = (
        next(block for block in blocks if start in block)
        for start in ("dconv-c3-c5", "auto_scale_lr = ", "num_classes=2")
    )
    own = own.replace('"./', f'"{ROOT}/configs/')
    for text, classes in ((stock + as_here, 80), (own, 2)):
        (tmp_path / "shown.py").write_text(text)
        cfg = load_config(str(tmp_path / "shown.py"))
        assert cfg.train_dataloader.dataset.data_root == "/data/coco"
        assert cfg.test_evaluator.ann_file == "/data/coco/annotations/instances_val2017.json"
        assert cfg.auto_scale_lr.enable
        head = build_on_meta(cfg).roi_head.bbox_head
        assert head.num_classes == classes
    (tmp_path / "shown.py").write_text(next(block for block in blocks if "= pretrained(" in block))
    backbone = build_on_meta(load_config(str(tmp_path / "shown.py"))).backbone
    assert network_name(backbone.state_dict()) == "resnext101_32x4d"
    assert backbone.frozen_stages == 1


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


@pytest.mark.whole
def test_the_table_of_cardinalities_is_what_was_measured() -> None:
    pytest.importorskip("mmengine", reason="MMEngine is not installed")
    from resnext_backbones.engine.config import read_config

    flop_count = pytest.importorskip(
        "fvcore.nn", reason="fvcore is not installed"
    ).FlopCountAnalysis
    text = (ROOT / "docs" / "pretraining.md").read_text(encoding="utf-8")
    path = ROOT / "docs" / "benchmarks" / "pretraining_cardinality_cifar10.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    for name, network in result["networks"].items():
        cfg = read_config("cifar/cifar10_quick", variant=f"resnext29_{name}")
        architecture, _ = architecture_and_options(None, cfg.model.network)
        model = ResNeXtClassifier(architecture, num_classes=10).eval()
        assert sum(p.numel() for p in model.parameters()) == network["parameters"]
        counted = flop_count(model, torch.zeros(1, 3, 32, 32)).unsupported_ops_warnings(False)
        multiply_adds = counted.by_operator()["conv"] + counted.by_operator()["linear"]
        assert multiply_adds == pytest.approx(network["multiply_adds"], rel=1e-3)
        top1 = [100 * run["top1"] for run in result["runs"] if run["network"] == name]
        cells = (
            f"{network['parameters'] / 1e6:.3f} M",
            f"{network['multiply_adds'] / 1e6:.1f} M",
            ", ".join(f"{value:.2f}" for value in top1),
            f"{statistics.mean(top1):.2f}, {statistics.stdev(top1):.2f}",
        )
        assert f"| {name.replace('x', ' x ', 1)} | {' | '.join(cells)} |" in text
