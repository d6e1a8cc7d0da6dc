"""Several hosts: a network namespace each, with a folder that no other sees."""

from __future__ import annotations

import math
import re
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import network
import numpy as np
import pytest
import torch
from network import Host
from PIL import Image
from tooling import QUICK, ROOT, TOOLS, losses

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from resnext_backbones.engine.checkpoints import Entry, read_journal, write_journal
from resnext_backbones.weights.download import hash_of

PRETRAIN, TRAIN = TOOLS / "pretrain_imagenet.py", TOOLS / "train.py"
COLOURS = ("red", "green", "blue")
PORTS = iter(range(29600, 29700))

CONFIG = """
_base_ = {base!r}
train_dataloader = dict(batch_size=6)
val_dataloader = dict(batch_size=6)
model = dict(
    num_classes=3,
    network=dict(
        _delete_=True, blocks=(1, 1, 1), cardinality=4, base_width=4, base_channels=8, stem="3x3"
    ),
    data_preprocessor=dict(num_classes=3),
)
default_hooks = dict(logger=dict(interval=1))
"""


@contextmanager
def with_images(folder: Path) -> Iterator[list[Host]]:
    """Three hosts, each with the same images."""
    if why := network.possible():
        pytest.skip(f"no network namespaces: {why}")
    with network.several_hosts(3, folder) as made:
        for host in made:
            generator = np.random.default_rng(0)
            for part, colour in ((p, c) for p in ("train", "val") for c in COLOURS):
                (images := host.folder / "crops" / part / colour).mkdir(parents=True)
                for number in range(12 if part == "train" else 4):
                    pixels = np.asarray(Image.new("RGB", (48, 48), colour), "float32")
                    pixels = (pixels + generator.normal(0, 40, pixels.shape)).clip(0, 255)
                    Image.fromarray(pixels.astype("uint8")).save(images / f"{number}.jpg")
            base = str(ROOT / "configs" / "demo_crops.py")
            (host.folder / "tiny.py").write_text(CONFIG.format(base=base))
        yield made


@pytest.fixture
def several(tmp_path: Path) -> Iterator[list[Host]]:
    with with_images(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The weights after three epochs on two hosts that nothing happens to."""
    with with_images(tmp_path_factory.mktemp("undisturbed")) as made:
        pretrain(made[:2], 3)
        assert messages(made[:2]) == ["", ""]
        return weights(made[0], "epoch_3.pth")


def pretrain(
    hosts: list[Host], epochs: int, *, timeout: int = 60, options: str = "--resume", **env: str
) -> None:
    """Begins, or goes on, on all hosts; `env` are variables of the second."""
    port = next(PORTS)
    for host in hosts:
        host.start(
            PRETRAIN, "tiny.py", "--data-root", host.folder / "crops", "--work-dir", "run",
            "--cfg-options", f"train_cfg.max_epochs={epochs}",
            f"env_cfg.dist_cfg.timeout={timeout}", options,
            nodes=len(hosts), port=port, **(env if host.number == 1 else {}),
        )  # fmt: skip


def until_the_second_epoch(host: Host) -> None:
    end = time.monotonic() + 180
    while not re.search(r"Epoch\(train\) +\[ *2\]", host.said()):
        assert time.monotonic() < end
        assert host.process.poll() is None, host.said()[-3000:]
        time.sleep(0.1)


def messages(hosts: list[Host]) -> list[str]:
    """What each host ended with, once it has."""
    for host in hosts:
        host.wait()
        assert f"rank{host.number}]: Traceback" not in host.said(), host.said()[-3000:]
    found = []
    for host in hosts:
        lines = [line for line in host.said().splitlines() if line.startswith("[rank ")]
        found.append(lines[-1] if lines else "")
    return found


def weights(host: Host, name: str) -> dict[str, torch.Tensor]:
    return torch.load(host.folder / "run" / name, weights_only=False)["state_dict"]


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


@pytest.mark.whole
def test_hosts_that_share_nothing_go_on_from_the_newest_checkpoint(
    several: list[Host], undisturbed: dict[str, torch.Tensor]
) -> None:
    """Asked to end on the second host alone, and gone on with once the first has lost its disk."""
    two = several[:2]
    pretrain(two, 3)
    until_the_second_epoch(two[0])
    two[1].signal(signal.SIGTERM, only="pretrain_imagenet")
    for host in two:
        host.wait()
    (last,) = (entry for entry in read_journal(two[0].folder / "run")[-1:])
    assert last.file == f"iter_{last.iter}.pth", "saved within the step, of all processes"
    pretrain(two, 3)
    assert messages(two) == ["", ""]
    assert "is sent to rank 1 on" in two[0].said()
    assert_equal(weights(two[0], "epoch_3.pth"), undisturbed)
    shutil.rmtree(two[0].folder / "run")
    pretrain(two, 3)
    assert messages(two) == ["", ""]
    assert f"{last.file}: was sent by rank 1 on" in two[0].said()
    assert_equal(weights(two[0], "epoch_3.pth"), undisturbed)
    pretrain(two, 4)  # from the end of an epoch, which rank 0 alone knows the metrics of
    assert messages(two) == ["", ""]
    assert (two[0].folder / "run" / "epoch_4.pth").is_file()


@pytest.mark.whole
@pytest.mark.parametrize(
    ("how", "message", "other"),
    [
        ("killed", "ended or cannot be reached; the last checkpoint is", ""),
        ("cut off", "ended or cannot be reached; the last checkpoint is", "error: rank 0 on"),
        # Whether a sign of life gets through in six seconds is chance, on either side.
        (
            "far too slow",
            ": where the link or a host is that slow, raise env_cfg|ended or cannot be",
            "(error:|this one hears of) rank 0 on",
        ),
    ],
)
def test_a_host_that_is_gone_is_named(
    how: str, message: str, other: str, several: list[Host]
) -> None:
    two = several[:2]
    pretrain(two, 1000, timeout=15)
    until_the_second_epoch(two[0])
    if how == "killed":
        two[1].signal(signal.SIGKILL)
    elif how == "cut off":
        two[1].cut()
    else:
        two[1].slow("12kbit")
    first, second = messages(two)
    assert re.search(rf"rank 1 on \S+ \(10\.77\.0\.2\) ?({message})", first), first
    assert read_journal(two[0].folder / "run")[-1].file in first
    if how != "killed":
        assert re.search(other, second), second
        assert "(10.77.0.1) writes the checkpoints: --resume goes on from its last one" in second


@pytest.mark.whole
@pytest.mark.parametrize("what", ["cut for ten seconds", "slow link", "other clock"])
def test_what_a_run_lives_through_changes_nothing(
    what: str, several: list[Host], undisturbed: dict[str, torch.Tensor]
) -> None:
    two = several[:2]
    if what == "slow link":
        two[1].slow("1mbit")
    ahead = network.clock("+2d", two[1].folder) if what == "other clock" else {}
    pretrain(two, 3, **ahead)
    if what == "cut for ten seconds":
        until_the_second_epoch(two[0])
        two[1].cut()
        time.sleep(10)
        two[1].cut(up=True)
    assert messages(two) == ["", ""]
    assert_equal(weights(two[0], "epoch_3.pth"), undisturbed)


@pytest.mark.whole
@pytest.mark.parametrize(
    ("what", "message"),
    {
        "images": "data set, train_dataloader.dataset.root: differs between hosts: 36 files",
        "weights to begin with": "checkpoint, load_from: differs between hosts: SHA-256",
        "newest checkpoint": "checkpoint to resume: differs between hosts: run/iter_5.pth",
    }.items(),
)
def test_a_host_that_is_not_like_the_others_is_named(
    what: str, message: str, several: list[Host]
) -> None:
    """The third of three has something else; all end, and leave what is there."""
    options = "load_from=begin.pth" if what == "weights to begin with" else "--resume"
    for host in several:
        if what == "images":
            image = host.folder / "crops" / "train" / "red" / "0.jpg"
            image.rename(image.with_name(f"other_{host.number // 2}.jpg"))
            continue
        (host.folder / "run").mkdir()
        checkpoint = host.folder / ("run/iter_5.pth" if options == "--resume" else "begin.pth")
        torch.save({"lr": host.number // 2}, checkpoint)
        if options == "--resume":
            write_journal(checkpoint.parent, [Entry(checkpoint.name, hash_of(checkpoint), 5)])
    pretrain(several, 1, options=options)
    for host, said in zip(several, messages(several), strict=True):
        assert message in said
        assert "rank 0 on" in said
        assert "rank 2 on" in said
        assert "(10.77.0.3)" in said
        kept = {path.name for path in (host.folder / "run").glob("*.pth")}
        assert kept == ({"iter_5.pth"} if what == "newest checkpoint" else set())


@pytest.mark.whole
def test_three_hosts_train_and_test_a_detector(several: list[Host], shapes_root: Path) -> None:
    """Each has its own copy of the images; they do not test different checkpoints."""
    pytest.importorskip("mmdet", reason="MMDetection is not installed")
    runs = several[0].folder / "run"
    port = next(PORTS)
    for host in several:
        shutil.copytree(shapes_root, host.folder / "coco")
        host.start(
            TRAIN, "demo_shapes", "--weights", "none", "--work-dir", "run",
            "--cfg-options", *QUICK, "train_dataloader.batch_size=2",
            nodes=3, port=port, COCO_ROOT=str(host.folder / "coco"),
        )  # fmt: skip
    assert messages(several) == ["", "", ""]
    assert read_journal(runs)[-1].metrics
    assert all(math.isfinite(loss) for loss in losses(several[0].said()))
    assert not list(several[1].folder.glob("run/*.pth")), "rank 0 writes checkpoints"
    port = next(PORTS)
    for host, name in zip(several, ("epoch_2.pth", "epoch_2.pth", "epoch_1.pth"), strict=True):
        shutil.copy(runs / name, host.folder / "tested.pth")
        host.start(
            TOOLS / "test.py", "demo_shapes", "tested.pth", "--work-dir", "tested",
            "--cfg-options", *QUICK, nodes=3, port=port, COCO_ROOT=str(host.folder / "coco"),
        )  # fmt: skip
    for said in messages(several):
        assert "checkpoint to test: differs between hosts: SHA-256" in said
        assert "(10.77.0.3)" in said
