"""A small pretraining run: eight classes of drawn images, and a tiny network."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from made_once import MadeOnce
from PIL import Image
from pretraining_runs import run

CIFAR10 = Path(
    os.environ.get(
        "CIFAR10_IMAGES", Path(__file__).parents[4] / "shared" / "data" / "cifar10_images.tar.gz"
    )
)

COUNTS = {"train": 200, "test": 20}

COLOURS = ("red", "green", "blue", "yellow", "white", "black", "cyan", "magenta")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As in the processes whose weights are compared bit for bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def coloured(made_once: MadeOnce) -> Path:
    """train/ and val/ with a folder a class: noise around the colour that names it."""
    return made_once("coloured", draw)


def draw(root: Path) -> None:
    generator = np.random.default_rng(0)
    for part, count in (("train", 12), ("val", 5)):
        for name in COLOURS:
            folder = root / part / name
            folder.mkdir(parents=True)
            pixel = np.asarray(Image.new("RGB", (1, 1), name), "float32")
            for number in range(count):
                noise = generator.normal(0, 40, (40, 48, 3))
                pixels = (pixel + noise).clip(0, 255).astype("uint8")
                Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=95)


@pytest.fixture(scope="session")
def cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real images of CIFAR-10 as JPEG files: 200 of each class to train on, 20 to test."""
    if not CIFAR10.is_file():
        pytest.skip(f"no CIFAR-10: {CIFAR10} is absent; CIFAR10_IMAGES names another place")
    root = tmp_path_factory.mktemp("cifar10")
    left = {"train": Counter(), "test": Counter()}
    with tarfile.open(CIFAR10) as archive:
        for member in archive:
            part, name = Path(member.name).parts[-3:-1] if member.isfile() else ("", "")
            if part in left and left[part][name] < COUNTS[part]:
                left[part][name] += 1
                path = root.joinpath(*Path(member.name).parts[-3:])
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.extractfile(member).read())
    return root


@pytest.fixture(scope="session")
def config(coloured: Path, made_once: MadeOnce) -> Path:
    """A config of 12 steps: 4 epochs of 3 batches."""
    base = Path(__file__).parents[3] / "configs" / "_base_" / "pretraining.py"
    text = f"""
_base_ = {str(base)!r}
data_root = {str(coloured)!r}
crop = [
    dict(type="resnext_backbones.RandomResizedCrop", size=32, scale=(0.5, 1)),
    dict(type="resnext_backbones.RandomHorizontalFlip"),
    dict(type="resnext_backbones.PILToTensor"),
]
middle = [
    dict(type="resnext_backbones.CenterCrop", size=32, resize=36),
    dict(type="resnext_backbones.PILToTensor"),
]
loader = dict(num_workers=0, persistent_workers=False, pin_memory=False)
train_dataloader = dict(
    **loader,
    batch_size=32,
    dataset=dict(
        type="resnext_backbones.LabelledImages", root=data_root + "/train", pipeline=crop
    ),
)
val_dataloader = dict(
    **loader,
    batch_size=16,
    dataset=dict(
        type="resnext_backbones.LabelledImages",
        root=data_root + "/val",
        train=False,
        pipeline=middle,
    ),
)
model = dict(
    type="resnext_backbones.ImageClassifier",
    num_classes=8,
    network=dict(
        blocks=(1, 1, 1), cardinality=4, base_width=4, base_channels=8, stem="3x3"
    ),
    data_preprocessor=dict(
        type="resnext_backbones.BatchPreprocessor",
        num_classes=8,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    ),
)
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=4)
optim_wrapper = dict(
    type="OptimWrapper", optimizer=dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=1e-4)
)
param_scheduler = [dict(type="CosineAnnealingLR", convert_to_iter_based=True)]
auto_scale_lr = dict(enable=True, base_batch_size=32)
default_hooks = dict(logger=dict(interval=1))
custom_hooks = _base_.custom_hooks + [
    dict(type="EMAHook", momentum=0.1, update_buffers=True, priority="ABOVE_NORMAL"),
]
"""

    return made_once("config", lambda folder: (folder / "tiny.py").write_text(text)) / "tiny.py"


@pytest.fixture(scope="session")
def finished_once(config: Path, made_once: MadeOnce) -> Path:
    def pretrain(work_dir: Path) -> None:
        done = run(config, work_dir)
        assert done.returncode == 0, done.stderr[-3000:]

    return made_once("finished", pretrain)


@pytest.fixture
def finished(finished_once: Path, tmp_path: Path) -> Path:
    """The work directory of a run that nothing disturbed."""
    return shutil.copytree(finished_once, tmp_path / "finished")
