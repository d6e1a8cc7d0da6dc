"""A zoo's detector, measured on this package's backbone from a server of this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from detectors import DETECTOR, save_detector
from loopback import served

pytest.importorskip("mmdet", reason="MMDetection is not installed")

from resnext_backbones.cli import main
from resnext_backbones.datasets import coco_subset
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.mmdetection.config import load_config
from resnext_backbones.tasks.mmdetection.zoo import (
    detector_of,
    find_detector,
    installed_zoo,
    zoo_rows,
)
from resnext_backbones.weights.download import hash_of
from resnext_backbones.weights.registry import hash_in_name

NAME = "small-rcnn_x14_coco"


def test_the_zoo_has_what_its_table_says() -> None:
    found = find_detector("mask-rcnn_x101-32x4d_fpn_1x_coco")
    assert found.published == {"box AP": 41.9, "mask AP": 37.5}
    assert found.config.is_file()
    assert [url.split("/")[2] for url in found.urls] == [
        "download.openmmlab.com",
        "mmassets.onedl.ai",
    ]
    assert hash_in_name(found.urls[0]) == "478d0b67"
    with pytest.raises(InputError, match="zoo; try mask-rcnn_x101-32x4d_fpn_1x_coco, "):
        find_detector("mask_rcnn_x101-32x4d_fpn_1x_coco")
    with pytest.raises(InputError, match="the zoo has no box or mask AP on COCO"):
        find_detector("rpn_x101-32x4d_fpn_1x_coco")


def test_every_row_of_the_zoo_is_read_or_refused() -> None:
    root = installed_zoo()
    assert root
    refused = {}
    for name, row in (rows := zoo_rows(root)).items():
        try:
            assert detector_of(row, root).config.is_file()
        except InputError as error:
            refused[name] = str(error)
    assert len(rows) - len(refused) > 500
    assert all(message.startswith(f"{name}: the zoo ") for name, message in refused.items())
    lost = "mask-rcnn_r50_fpn_albu-1x_coco"
    assert refused[lost] == f"{lost}: the zoo names a config of it that is not there, {lost}.py"


def make_truth(root: Path, predictions: list[dict]) -> None:
    """Make a detector's own findings the ground truth, but for every third."""
    path = root / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_bytes())
    kept = [one for number, one in enumerate(predictions) if number % 3]
    content["annotations"] = [
        {**one, "id": number, "iscrowd": 0, "area": one["bbox"][2] * one["bbox"][3]}
        for number, one in enumerate(kept, 1)
    ]
    path.write_text(json.dumps(content))


@pytest.fixture
def zoo(detector: Path, coco_tiny: Path, tmp_path: Path, monkeypatch) -> tuple[Path, Path, Path]:
    """A zoo with one detector, the folder of its checkpoint, and the images that it is tested on.

    Its box and mask AP, measured by `resnext test`, are in the zoo's table.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    root = coco_subset(coco_tiny, tmp_path / "coco", num_train=1, num_val=4)
    monkeypatch.setenv("COCO_ROOT", str(root))
    annotations = root / "annotations" / "instances_val2017.json"
    main(
        ["predict", "demo_coco", str(detector), "coco/val2017", "--out", "found", "--no-pictures",
         "--image-list", str(annotations), "--cfg-options", *DETECTOR]
    )  # fmt: skip
    make_truth(root, json.loads(Path("found/predictions.json").read_bytes()))
    main(["test", "demo_coco", str(detector), "--out", "test.json", "--cfg-options", *DETECTOR])
    metrics = json.loads(Path("test.json").read_bytes())

    (files := tmp_path / "files").mkdir()
    name = f"net-{hash_of(detector)[:8]}.pth"
    (files / name).symlink_to(detector)
    (folder := tmp_path / "zoo" / "configs" / "small").mkdir(parents=True)
    cfg = load_config("demo_coco", DETECTOR)
    cfg.model.backbone.type = "ResNeXt"  # MMDetection's, which has no such depth
    cfg.dump(folder / "small.py")
    results = {"box AP": metrics["coco/bbox_mAP"], "mask AP": metrics["coco/segm_mAP"]}
    row = {
        "Name": NAME,
        "Config": "configs/small/small.py",
        "Results": [{"Dataset": "COCO", "Metrics": {k: 100 * v for k, v in results.items()}}],
        "Weights": f"ADDRESS/{name}",
    }
    (folder / "metafile.yml").write_text(yaml.safe_dump({"Models": [row]}))
    monkeypatch.setattr(
        "resnext_backbones.tasks.mmdetection.zoo.installed_zoo", lambda: tmp_path / "zoo"
    )
    return folder / "metafile.yml", files, root


def test_a_detector_is_verified(zoo, capsys) -> None:
    table, files, root = zoo
    text = table.read_text()
    metrics = {
        name: value for result in yaml.safe_load(text)["Models"][0]["Results"]
        for name, value in result["Metrics"].items()
    }  # fmt: skip
    assert 10 < metrics["box AP"] < 99.9
    assert 10 < metrics["mask AP"] < 99.9
    command = ["verify", NAME, "--coco-root", str(root), "--batch-size", "4"]
    with served(files) as address:
        table.write_text(text.replace("ADDRESS", address))
        main([*command, "--tolerance", "0.1"])
        printed = capsys.readouterr().out
        assert printed.endswith("verified\n")
        assert "not verified" not in printed
        assert "measured with the backbone resnext_backbones.ResNeXt\n" in printed
        assert f"mask AP  published {metrics['mask AP']:.2f}  measured" in printed

        # Another network has another number.
        other = save_detector(files / "other.pth", 1)
        path = other.rename(files / f"other-{hash_of(other)[:8]}.pth")
        table.write_text(
            text.replace(next(files.glob("net-*")).name, path.name).replace("ADDRESS", address)
        )
        with pytest.raises(SystemExit) as ended:
            main([*command, "--tolerance", "0.1"])
        assert ended.value.code == 1
        assert capsys.readouterr().out.endswith("not verified\n")
    for arguments, message in {
        tuple(command): "4 images: the published number is of COCO val2017's 5000",
        (*command[:2],): f"{NAME}: is a detector; --coco-root says where COCO lies",
        (*command, "--data-root", "d"): f"--data-root: only for a classifier, and {NAME} is a det",
        (*command[:2], "--coco-root", "files"): "--coco-root files: has no annotations/instances",
    }.items():
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        assert message in capsys.readouterr().err
