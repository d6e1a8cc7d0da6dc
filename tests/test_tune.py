"""The command `resnext tune`: what it measures, prints and keeps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers import quick

from resnext_backbones import cli
from resnext_backbones.compute import tuned, ways
from resnext_backbones.tasks.tunable import tunable


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    ways.forget("cpu")
    yield
    ways.forget("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU would be measured")
def test_it_measures_once_prints_a_table_and_keeps_it(tiny: str, capsys) -> None:
    line = ["tune", tiny, "--batch", "1", "--size", "64x96", "--frozen-stages", "1"]
    cli.main(line)
    first, head, *rows, last = capsys.readouterr().out.splitlines()
    assert first == f"{tiny}: images (1, 3, 64, 96), torch.float32, on cpu"
    assert re.split(r"  +", head)[3:] == ["pixels", "forward", "grad input", "grad weight"]
    table = tuned.read("cpu")
    assert len(rows) == len(table) == int(last.split()[0]) > 8
    assert last.endswith(f"kept in {tuned.path('cpu')}")
    # What is frozen has no backward pass.
    assert any(re.search(r" 384 .* -\s+-$", row) for row in rows)
    cli.main(line)
    assert "\n0 measured" in (again := capsys.readouterr().out)
    assert again.endswith("--again measures anew\n")
    assert tuned.read("cpu") == table
    cli.main([*line, "--again", "--amp", "bf16"])
    assert "torch.bfloat16" in capsys.readouterr().out
    assert len(tuned.read("cpu")) == 2 * len(table)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnext101_32x5d"], "resnext101_32x5d: no variant and no config of this name; try"),
        (["resnext50_32x4d", "--frozen-stages", "7"], "resnext50_32x4d: frozen_stages"),
        (["imagenet/paper", "--frozen-stages", "1"], "--frozen-stages 1: the config says its own"),
        (["resnext50_32x4d", "--size", "800"], "800: use HEIGHTxWIDTH, from 32 pixels on"),
        (["resnext50_32x4d", "--batch", "0"], "0: use a whole number above zero"),
    ],
)
def test_what_is_wrong_ends_with_one_message(arguments: list[str], message: str, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["tune", *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


CONFIGS = {
    "imagenet/paper": ((32, 3, 224, 224), -1),
    "mask_rcnn_x101_32x4d_fpn_coco": ((2, 3, 800, 1344), 1),
    "torchvision/mask_rcnn_x50_32x4d_fpn_coco": ((2, 3, 800, 1344), 1),
    "torchvision/deeplabv3_x50_32x4d_voc": ((4, 3, 480, 480), -1),
    "detectron2/mask_rcnn_fpn_1x": ((16, 3, 800, 1344), 1),
}


@pytest.mark.parametrize("name", quick(CONFIGS, {"imagenet/paper"}))
def test_a_config_says_its_network_and_images(name: str) -> None:
    pytest.importorskip("mmengine", reason="MMEngine is not installed")
    if "detectron2" in name:
        pytest.importorskip("detectron2", reason="Detectron2 is not installed")
    elif "/" not in name:
        pytest.importorskip("mmdet", reason="MMDetection is not installed")
    found = tunable(name, batch=None, size=None, frozen=None)
    assert (found.shape, found.trunk.frozen_stages) == CONFIGS[name]
    assert next(found.trunk.parameters()).device.type == found.device
