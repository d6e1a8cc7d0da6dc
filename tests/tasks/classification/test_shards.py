"""Images in tar files: each one once, wherever it is read."""

from __future__ import annotations

import json
import re
import tarfile
from collections import Counter
from pathlib import Path

import pytest
import torch
from loopback import served
from torch.utils.data import DataLoader

pytest.importorskip("mmengine", reason="MMEngine is not installed")
pytest.importorskip("webdataset", reason="webdataset is not installed")

from mmengine.config import Config

from resnext_backbones.engine.config import for_training, read_config
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.classification import shards as module
from resnext_backbones.tasks.classification.run import pretrain
from resnext_backbones.tasks.classification.shards import ShardedImages

PIPELINE = [
    {"type": "resnext_backbones.CenterCrop", "size": 32, "resize": 36},
    {"type": "resnext_backbones.PILToTensor"},
]
SIZES = [20, 7, 31, 38]


@pytest.fixture(scope="module")
def folder(coloured: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 images in four tar files of unlike sizes, and a file that says these."""
    folder = tmp_path_factory.mktemp("shards")
    classes = sorted(path.name for path in (coloured / "train").iterdir())
    images = sorted((coloured / "train").rglob("*.jpg"), key=lambda path: path.name)
    known = {}
    for number, size in enumerate(SIZES):
        path = folder / f"train-{number}.tar"
        known[path.name] = size
        with tarfile.open(path, "w") as archive:
            for image in images[sum(SIZES[:number]) : sum(SIZES[: number + 1])]:
                key = f"{image.parent.name}_{image.stem}"
                label = folder / "label"
                # Some as `echo` writes them, with a line's end.
                label.write_text(f"{classes.index(image.parent.name)}{'' if number else chr(10)}")
                archive.add(image, f"{key}.jpg")
                archive.add(label, f"{key}.cls")
                archive.add(image, f"./._{key}.jpg")  # as macOS leaves them
                archive.add(image, f"__MACOSX/{key}.jpg")
    (folder / "sizes.json").write_text(json.dumps(known))
    (folder / "classes.txt").write_text("\n".join(classes))
    return folder


def dataset(folder: Path, **options) -> ShardedImages:
    urls = str(folder / "train-{0..3}.tar")
    defaults = {"urls": urls, "batch_size": 8, "num_classes": 8}
    return ShardedImages(pipeline=PIPELINE, **(defaults | options))


def batches(data: ShardedImages, workers: int = 0, epoch: int = 0, first: int = 0) -> list:
    data.start(5, epoch, first)
    loader = DataLoader(data, batch_size=data.batch_size, num_workers=workers)
    return [batch["inputs"] for batch in loader]


def contents(found: list) -> Counter:
    return Counter(image.numpy().tobytes() for batch in found for image in batch)


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
@pytest.mark.parametrize("workers", [0, 2, 3])
def test_every_sample_once_over_ranks_and_workers(
    ranks: int, workers: int, folder: Path, monkeypatch
) -> None:
    everything = contents(batches(dataset(folder, train=False)))
    assert len(everything) == 96
    for train in (True, False):
        found, lengths = Counter(), []
        for rank in range(ranks):
            monkeypatch.setattr(module, "get_dist_info", lambda rank=rank: (rank, ranks))
            data = dataset(folder, train=train)
            seen = batches(data, workers)
            lengths.append(len(seen))
            assert sum(map(len, seen)) == len(data)
            found += contents(seen)
        assert found.keys() == everything.keys()
        assert found.total() == (96 if not train else -(-96 // ranks) * ranks)
        assert not train or len(set(lengths)) == 1


def test_epochs_have_orders_of_their_own(folder: Path) -> None:
    data = dataset(folder)
    first, again, second = batches(data), batches(data), batches(data, epoch=1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], second[0])
    assert contents(first) == contents(second)


@pytest.mark.parametrize("workers", [0, 2, 3])
def test_an_epoch_goes_on_in_its_middle(workers: int, folder: Path) -> None:
    data = dataset(folder, batch_size=10)
    whole = batches(data, workers)
    assert len(whole) == 10
    for first in (1, 4, 9):
        rest = batches(data, workers, first=first)
        assert all(torch.equal(a, b) for a, b in zip(rest, whole[first:], strict=True))


def test_over_http(folder: Path) -> None:
    with served(folder) as address:
        far = dataset(
            folder, urls=f"{address}/train-{{0..3}}.tar", sizes=str(folder / "sizes.json")
        )
        assert contents(batches(far)) == contents(batches(dataset(folder)))


def test_broken_images_are_replaced_and_named(folder: Path, tmp_path: Path) -> None:
    for path in folder.glob("*.tar"):
        content = bytearray(path.read_bytes())
        if path.name == "train-1.tar":
            at = content.find(b"\xff\xd8\xff")
            content[at : at + 200] = bytes(200)
        (tmp_path / path.name).write_bytes(content)
    data = dataset(tmp_path)
    data.start(5, 0, 0)
    samples = list(data)
    assert len(samples) == 96
    named = [sample["broken"] for sample in samples if sample["broken"]]
    assert len(named) == 1
    assert re.search(r"^image .*train-1.tar: \w+: cannot be read: it is none of .*JPEG", named[0])
    evaluated = list(dataset(tmp_path, train=False))
    assert len(evaluated) == 96
    (black,) = [sample for sample in evaluated if sample["broken"]]
    assert not black["inputs"].any()
    # As large as the others, also as the first of all: they may have one size.
    steps = [{"type": "resnext_backbones.PILToTensor"}]
    options = {"batch_size": 8, "num_classes": 8, "train": False}
    first, *others = ShardedImages(str(tmp_path / "train-1.tar"), steps, **options)
    assert first["broken"]
    assert {sample["inputs"].shape for sample in others} == {first["inputs"].shape}


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"shard .*absent.tar: no file on this machine.*sizes"):
        ShardedImages(str(tmp_path / "absent.tar"), PIPELINE, batch_size=8, num_classes=8)
    with pytest.raises(InputError, match=r"either class_list or num_classes"):
        dataset(folder, num_classes=None)
    (tmp_path / "sizes.json").write_text('{"train-0.tar": 3}')
    with pytest.raises(InputError, match=r"does not say the size of each shard: 'train-1.tar'"):
        dataset(folder, sizes=str(tmp_path / "sizes.json"))
    with pytest.raises(InputError, match=r"class '7' is not a number from 0 to 6"):
        list(dataset(folder, num_classes=7))


@pytest.mark.parametrize("damage", ["cut off", "too few", "absent"])
def test_a_shard_that_cannot_be_read_is_named(damage: str, folder: Path, tmp_path: Path) -> None:
    for path in [*folder.glob("*.tar"), folder / "sizes.json"]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    data = dataset(tmp_path, sizes=str(tmp_path / "sizes.json"))
    data.start(5, 0, 0)
    shard = tmp_path / "train-2.tar"
    if damage == "cut off":
        shard.write_bytes(shard.read_bytes()[:20_000])
    elif damage == "too few":
        shard.write_bytes((tmp_path / "train-1.tar").read_bytes())
    else:
        shard.unlink()
    expected = "has 7 samples, and 31 were expected" if damage == "too few" else "cannot be read"
    with pytest.raises(InputError, match=rf"{shard}: {expected}"):
        list(data)


def on_shards(folder: Path, config: Path, work_dir: Path, batch_size: int) -> Config:
    cfg = read_config(str(config), work_dir=str(work_dir))
    cfg.experiment_name = work_dir.name
    shards = {
        "type": "resnext_backbones.ShardedImages",
        "urls": str(folder / "train-{0..3}.tar"),
        "class_list": str(folder / "classes.txt"),
        "pipeline": PIPELINE,
    }
    for loader, options in (
        (cfg.train_dataloader, {"batch_size": batch_size}),
        (cfg.val_dataloader, {"batch_size": 16, "train": False}),
    ):
        loader.update(sampler=None, drop_last=False, batch_size=options["batch_size"])
        loader.dataset = shards | options
    cfg.train_cfg.max_epochs = 2
    cfg.default_hooks.checkpoint.update(minutes=1e-9, max_keep_ckpts=-1)
    for_training(cfg)
    return cfg


def test_a_run_on_shards_goes_on_in_an_epoch(folder: Path, config: Path, tmp_path: Path) -> None:
    """Its epochs end with a part of a batch: 96 images are 2 batches of 40 and one of 16."""
    pretrain(on_shards(folder, config, tmp_path / "whole", 40))
    expected = torch.load(tmp_path / "whole" / "epoch_2.pth", weights_only=False)["state_dict"]
    for step in (2, 3, 5):
        cfg = on_shards(folder, config, tmp_path / f"from_{step}", 40)
        cfg.resume, cfg.load_from = True, str(tmp_path / "whole" / f"iter_{step}.pth")
        pretrain(cfg)
        found = torch.load(tmp_path / f"from_{step}" / "epoch_2.pth", weights_only=False)
        assert all(torch.equal(expected[k], v) for k, v in found["state_dict"].items())


@pytest.mark.parametrize(
    ("option", "message"), [("drop_last", "set drop_last=False"), ("batch_size", "is 32 and the")]
)
def test_a_loader_that_counts_otherwise_is_named(
    option: str, message: str, folder: Path, config: Path, tmp_path: Path
) -> None:
    cfg = on_shards(folder, config, tmp_path / option, 32)
    cfg.train_dataloader[option] = {"drop_last": True, "batch_size": 16}[option]
    with pytest.raises(InputError, match=message):
        pretrain(cfg)
