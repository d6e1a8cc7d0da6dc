"""Images in tar files: each one once, wherever it is read."""

from __future__ import annotations

import json
import tarfile
import threading
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

pytest.importorskip("mmengine", reason="MMEngine is not installed")
pytest.importorskip("webdataset", reason="webdataset is not installed")

from resnext_backbones.pretraining import shards as module
from resnext_backbones.pretraining.run import pretrain
from resnext_backbones.pretraining.shards import ShardedImages
from resnext_backbones.runs.config import for_training, read_config
from resnext_backbones.runs.errors import InputError

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
                label.write_text(str(classes.index(image.parent.name)))
                archive.add(image, f"{key}.jpg")
                archive.add(label, f"{key}.cls")
    (folder / "sizes.json").write_text(json.dumps(known))
    (folder / "classes.txt").write_text("\n".join(classes))
    return folder


def dataset(folder: Path, **options) -> ShardedImages:
    urls = str(folder / "train-{0..3}.tar")
    return ShardedImages(urls, PIPELINE, **({"batch_size": 8, "num_classes": 8} | options))


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
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        urls = f"http://127.0.0.1:{server.server_port}/train-{{0..3}}.tar"
        far = ShardedImages(
            urls, PIPELINE, batch_size=8, num_classes=8, sizes=str(folder / "sizes.json")
        )
        assert contents(batches(far)) == contents(batches(dataset(folder)))
    finally:
        server.shutdown()


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
    assert "train-1.tar: " in named[0]
    evaluated = list(dataset(tmp_path, train=False))
    assert len(evaluated) == 96
    (black,) = [sample for sample in evaluated if sample["broken"]]
    assert not black["inputs"].any()


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"shard .*absent.tar: no file on this machine.*sizes"):
        ShardedImages(str(tmp_path / "absent.tar"), PIPELINE, batch_size=8, num_classes=8)
    with pytest.raises(InputError, match=r"either class_list or num_classes"):
        dataset(folder, num_classes=None)
    (tmp_path / "sizes.json").write_text('{"train-0.tar": 3}')
    with pytest.raises(InputError, match=r"does not say the size of each shard: 'train-1.tar'"):
        dataset(folder, sizes=str(tmp_path / "sizes.json"))
    with pytest.raises(InputError, match=r"of class '7', which there is not"):
        list(dataset(folder, num_classes=7))


def test_a_run_on_shards(folder: Path, config: Path, tmp_path: Path) -> None:
    cfg = read_config(str(config), work_dir=str(tmp_path / "run"))
    cfg.train_dataloader.update(sampler=None)
    cfg.train_dataloader.dataset = {
        "type": "resnext_backbones.ShardedImages",
        "urls": str(folder / "train-{0..3}.tar"),
        "batch_size": 32,
        "class_list": str(folder / "classes.txt"),
        "pipeline": PIPELINE,
    }
    cfg.train_cfg.max_epochs = 2
    for_training(cfg)
    pretrain(cfg)
    assert (tmp_path / "run" / "epoch_2.pth").is_file()
