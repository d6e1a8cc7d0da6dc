"""What the tests share: real images, where they are, and quiet frameworks."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from made_once import MadeOnce, made_once_in

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when the package is imported

# What a test compares bit for bit is not to depend on what was measured; see engine/run_ways.py.
os.environ["RESNEXT_BACKBONES_NO_TUNE"] = "1"
# A page of each run would be half a second and 5 MB; the tests of pages ask for theirs.
os.environ["RESNEXT_BACKBONES_NO_REPORT"] = "1"

from resnext_backbones.compute import ways
from resnext_backbones.datasets import generate_shapes
from resnext_backbones.models.architecture import Architecture
from resnext_backbones.variants import VARIANTS

if "PYTEST_XDIST_WORKER" in os.environ:
    # Processes that share the cores; more threads than cores are many times slower.
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)

for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:  # the tests' own process runs in the background
        signal.signal(number, handler)

with suppress(ImportError):  # without MMEngine
    import remembered  # noqa: F401

with suppress(ImportError):  # without mmcv; MMDetection's models are peers in many tests
    import resnext_backbones.mmcv_ops  # noqa: F401

ROOT = Path(__file__).parents[1]
COCO_TINY = Path(os.environ.get("COCO_TINY", ROOT.parent / "shared" / "data" / "coco_tiny"))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _plain_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """Computes convolutions as on a machine on which nothing was measured."""
    monkeypatch.setattr(ways, "_tables", {"cpu": {}, "cuda": {}})


@pytest.fixture(autouse=True)
def _own_visualizer() -> Iterator[None]:
    """Has no test write into the folder of the one before: MMEngine keeps visualizers by name, and
    loggers with their files, which who sets up logging closes, and the next line opens again.
    """
    _leave_files_that_are_gone()
    yield
    if (visualization := sys.modules.get("mmengine.visualization")) is not None:
        visualizer = visualization.Visualizer
        for kind in (visualizer, *visualizer.__subclasses__()):
            kind._instance_dict.clear()


def _leave_files_that_are_gone() -> None:
    if (logs := sys.modules.get("mmengine.logging")) is not None:
        for logger in logs.MMLogger._instance_dict.values():
            for handler in list(logger.handlers):
                path = getattr(handler, "baseFilename", None)
                if path is not None and not Path(path).parent.is_dir():
                    logger.removeHandler(handler)


@pytest.fixture(scope="session")
def coco_tiny() -> Path:
    """80 + 80 images of COCO with their annotations, in COCO's layout."""
    if not COCO_TINY.is_dir():
        pytest.skip(f"no real COCO images: {COCO_TINY} is absent; COCO_TINY names another place")
    return COCO_TINY


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """Makes folders that are removed when all tests have passed."""
    root = tmp_path_factory.getbasetemp()
    return made_once_in(root.parent if "PYTEST_XDIST_WORKER" in os.environ else root)


@pytest.fixture(scope="session")
def shapes_root(made_once: MadeOnce) -> Path:
    """A small tree in COCO's layout."""

    def make(folder: Path) -> None:
        generate_shapes(folder / "data", num_train=16, num_val=8)

    return made_once("shapes", make) / "data"


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a network of one block a stage, for the length of a test."""
    architecture = Architecture(blocks=(1, 1, 1, 1), cardinality=4, base_width=4)
    monkeypatch.setitem(VARIANTS, "tiny_4x4d", architecture)
    return "tiny_4x4d"
