"""A classifier's published accuracy, measured from a server of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from loopback import served
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from resnext_backbones import build_classifier
from resnext_backbones.cli import main
from resnext_backbones.weights.download import hash_of
from resnext_backbones.weights.publishers import BSD, Crop, Source
from resnext_backbones.weights.registry import REGISTRY, Published

ALIAS = "loopback/resnext26_32x4d"
CROP = Crop(192, 240, "bicubic")


def save_classifier(images: Path, folder: Path) -> tuple[str, float]:
    """Write a network that tells images by the nearest mean of random features.

    Returns:
        The file's name, and its top-1 accuracy on the images, as torchvision would measure it.
    """
    steps = [
        v2.PILToTensor(),
        v2.Resize(CROP.resize, v2.InterpolationMode(CROP.interpolation)),
        v2.CenterCrop(CROP.size),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
    samples = list(ImageFolder(images, v2.Compose(steps)))
    inputs, labels = torch.stack([image for image, _ in samples]), [label for _, label in samples]
    model = build_classifier("resnext26_32x4d", num_classes=max(labels) + 1).eval()
    with torch.no_grad():
        model.fc.weight.zero_()
        features = []
        handle = model.fc.register_forward_pre_hook(lambda _, args: features.append(args[0]))
        model(inputs)
        handle.remove()
        truth = torch.tensor(labels)
        means = torch.stack([features[0][truth == n].mean(0) for n in range(max(labels) + 1)])
        means[[0, 1]] = means[[1, 0]]  # so that not all are right
        model.fc.weight.copy_(means)
        model.fc.bias.copy_(-means.square().sum(1) / 2)
        top1 = (model(inputs).argmax(1) == truth).float().mean().item()
    torch.save(model.state_dict(), folder / "net.pth")
    path = folder / f"net-{hash_of(folder / 'net.pth')[:8]}.pth"
    (folder / "net.pth").rename(path)
    return path.name, 100 * top1


def test_a_classifier_is_verified(coloured: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (files := tmp_path / "files").mkdir()
    name, top1 = save_classifier(coloured / "val", files)
    assert 50 < top1 < 80
    command = ["verify", ALIAS, "--data-root", str(coloured)]

    def ends(row: Published, *arguments: str) -> int | None:
        monkeypatch.setitem(REGISTRY, ALIAS, row)
        try:
            main([*command, *arguments])
        except SystemExit as ended:
            return ended.code
        return 0

    with served(files) as address:
        source = Source((f"{address}/{{file}}",), BSD, "https://example.org/table")
        row = Published(ALIAS, "resnext26_32x4d", source, name, top1, CROP)
        assert ends(row, "--tolerance", "0.2") == 0
    printed = capsys.readouterr().out
    assert f"{ALIAS}, published in https://example.org/table" in printed
    assert (
        f"top-1    published {top1:.2f}  measured {top1:.2f}  difference +0.00  agrees" in printed
    )
    assert "measured with the backbone resnext_backbones.resnext26_32x4d\n" in printed
    assert printed.endswith("verified\n")

    # The file has been downloaded now.
    assert ends(replace(row, top1=top1 - 1), "--tolerance", "0.2") == 1
    assert "difference +1.00  DIFFERS, at a tolerance of 0.2" in capsys.readouterr().out
    assert ends(row) == 2
    assert "the published number is of ImageNet-1k's validation set's" in capsys.readouterr().err
    assert ends(replace(row, top1=None)) == 2
    assert "no accuracy is published in https://example.org/table" in capsys.readouterr().err
    assert ends(row, "--stock-backbone", "--cfg-options", "a=1") == 2
    message = f"--stock-backbone, --cfg-options: only for a detector, and {ALIAS} is a classifier"
    assert message in capsys.readouterr().err
    (fewer := tmp_path / "fewer").mkdir()
    for colour in ("red", "blue"):
        (fewer / colour).symlink_to(coloured / "val" / colour)
    command[-1] = str(fewer)
    assert ends(row, "--tolerance", "100") == 2
    assert f"are of 2 classes, and {ALIAS} tells 8 apart" in capsys.readouterr().err


PROGRAM = f"""
import sys
from resnext_backbones.cli import main
from resnext_backbones.weights.publishers import BSD, Crop, Source
from resnext_backbones.weights.registry import REGISTRY, Published
address, name, top1, root = sys.argv[1:]
source = Source((address + "/{{file}}",), BSD, "https://example.org/table")
row = {ALIAS!r}, "resnext26_32x4d", source, name, float(top1), Crop(*{tuple(CROP)})
REGISTRY[{ALIAS!r}] = Published(*row)
main(["verify", {ALIAS!r}, "--data-root", root, "--device", "cpu", "--tolerance", "0.2"])
"""
"""Verifies a file that a server of this machine has."""


@pytest.mark.whole
def test_two_processes_verify_as_one_does(coloured: Path, tmp_path: Path) -> None:
    (files := tmp_path / "files").mkdir()
    name, top1 = save_classifier(coloured / "val", files)
    (tmp_path / "program.py").write_text(PROGRAM)
    with served(files) as address:
        done = subprocess.run(
            [
                sys.executable, "-m", "torch.distributed.run", "--standalone",
                "--nproc_per_node", "2", tmp_path / "program.py",
                address, name, str(top1), coloured,
            ],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TORCH_HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("verified\n") == 1
    assert f"measured {top1:.2f}  difference +0.00  agrees" in done.stdout
