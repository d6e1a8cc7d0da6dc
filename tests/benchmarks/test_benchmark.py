"""The benchmark: that it compares the same network, counts right, and reports what it measured."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from helpers import relative_error
from tooling import ROOT, run

from benchmarks import columns, report, tables
from benchmarks.complexity import read_record
from benchmarks.contestants import CONTESTANTS, OWN
from benchmarks.flops import step_flops
from benchmarks.job import TASKS, Entry, Job, Setting, set_tf32
from benchmarks.memory import peak_bytes
from benchmarks.provenance import file_name
from benchmarks.run import DisagreementError, _compare
from benchmarks.weights import random_state
from resnext_backbones.engine.provenance import commit

COMMAND = [sys.executable, "-m", "benchmarks"]
VARIANT = "resnext50_32x4d"
PEERS = [name for name, c in CONTESTANTS.items() if name != OWN and c.same_network]


def setting(task: str, *sizes: tuple[int, int]) -> Setting:
    return Setting(task, VARIANT, 1, sizes or ((96, 64),), "cpu")


@pytest.mark.parametrize("task", ["inference", "detector", "classification"])
@pytest.mark.parametrize("name", PEERS)
def test_all_contestants_compute_the_same(name: str, task: str) -> None:
    entry = Entry(name, "float64")
    if not CONTESTANTS[name].is_installed():
        pytest.skip(f"{name} is not installed")
    if not entry.is_possible(setting(task)):
        pytest.skip(f"{name} has no {TASKS[task].part}")
    own = Job(setting(task), Entry(OWN, "float64")).warm_up()
    peer = Job(setting(task), entry).warm_up()
    assert sum(key.startswith("output") for key in peer) == (1 if task == "classification" else 4)
    if name == "detectron2":  # its frozen norms have no parameters
        assert peer.keys() <= own.keys()
    else:
        assert peer.keys() == own.keys()
    for key, value in peer.items():
        assert relative_error(own[key], value) <= 1e-10, key


@pytest.mark.parametrize("name", PEERS)
def test_every_gradient_in_single_precision_where_no_kink_hides_it(name: str) -> None:
    """The peer computes in double precision."""
    smooth = replace(setting("detector"), smooth=True)
    if not Entry(name).is_possible(smooth):
        pytest.skip(f"{name} is not installed, or its activations cannot be replaced")
    peer = Job(smooth, Entry(name, "float64")).warm_up()
    for key, value in Job(smooth, Entry(OWN)).warm_up().items():
        assert relative_error(value.double(), peer[key]) <= 1e-5, key


@pytest.fixture
def _torchvisions_operators() -> Iterator[None]:
    """In MMDetection, also where others are compiled, which take no double precision."""
    install = pytest.importorskip("resnext_backbones.mmcv_ops", exc_type=ImportError).install
    install("torchvision")
    yield
    install()


@pytest.mark.whole
@pytest.mark.usefixtures("_torchvisions_operators")
def test_a_whole_mask_rcnn_has_the_same_loss() -> None:
    pytest.importorskip("mmdet", reason="MMDetection is not installed")
    size = (128, 160)
    # In double precision, where rounding gives no two proposals each other's place.
    entries = [Entry(name, "float64") for name in (OWN, "mmdetection")]
    jobs = [Job(setting("mask_rcnn", size), entry) for entry in entries]
    for job in jobs:
        job.module.detector.roi_head.bbox_sampler.num = 32  # double precision is slow
    own, peer = (job.warm_up() for job in jobs)
    assert own.keys() == peer.keys() == {"output 0"}
    assert relative_error(own["output 0"], peer["output 0"]) <= 1e-10
    # The heads' loss, after operators of mmcv that do not mind the memory format.
    own_loss, peer_loss = (job.forward(job.images[0])[1] for job in jobs)
    assert relative_error(own_loss, peer_loss) <= 1e-10


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_by_autocast(precision: str) -> None:
    exact = Job(setting("detector"), Entry(OWN, "float64")).warm_up()
    found = Job(setting("detector"), Entry(OWN, precision)).warm_up()
    for key, value in found.items():
        half = key.startswith("output")
        assert value.dtype == (getattr(torch, precision) if half else torch.float32)
        if half:
            errors = _compare(TASKS["detector"], Entry(OWN, precision), {key: value}, exact)
            assert errors["output_error"] > 1e-6


def test_less_is_kept_than_by_mmdetection() -> None:
    pytest.importorskip("mmdet", reason="MMDetection is not installed")
    kept = {}
    for name in (OWN, "mmdetection"):
        job = Job(setting("detector", (256, 256)), Entry(name))
        job.warm_up()
        kept[name] = job.kept_bytes()
    assert kept[OWN] <= 0.52 * kept["mmdetection"]


def test_a_peak_is_not_that_of_the_process_that_started_it() -> None:
    more = peak_bytes("cpu") + 10**9
    held = bytearray(b"x") * more
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert pool.submit(peak_bytes, "cpu").result() < more <= peak_bytes("cpu")
    del held


def test_operations_are_those_of_the_golden_record() -> None:
    macs = read_record()[VARIANT]["trunk_multiply_adds"]
    inference = step_flops(setting("inference", (224, 224)), OWN)
    assert inference == 2 * macs
    assert step_flops(setting("inference", (224, 224), (224, 224)), OWN) == 4 * macs
    # Stem and stage 1 have no backward pass, the stem of a classifier none into the image.
    detector = step_flops(setting("detector", (224, 224)), OWN)
    classification = step_flops(setting("classification", (224, 224)), OWN)
    assert detector is not None
    assert classification is not None
    assert 4 * macs < detector < classification < 6.1 * macs


def test_another_network_ends_the_run() -> None:
    reference = {"output 0": torch.ones(3), "conv1.weight": torch.ones(2)}
    entry, task = Entry("timm", mode="compiled"), TASKS["detector"]
    assert _compare(task, entry, reference, reference) == {
        "output_error": 0,
        "gradient_error": 0,
    }
    other = {**reference, "output 0": torch.tensor([1.0, 1.0, 1.1])}
    with pytest.raises(DisagreementError, match=r"timm, compiled, float32: .* differ .* 5.8e-02"):
        _compare(task, entry, other, reference)
    several = {f"output {i}": torch.ones(3) for i in range(3)}
    for name in several:
        with pytest.raises(DisagreementError, match=r"differ .* nan"):
            _compare(
                TASKS["detector"], entry, {**several, name: torch.full((3,), torch.nan)}, several
            )


def test_weights_that_are_drawn_keep_activations_alive() -> None:
    job = Job(setting("inference"), Entry(OWN))
    outputs = job.warm_up()
    assert all(0.1 < output.std() < 10 for output in outputs.values())
    state = random_state(VARIANT)
    assert all(torch.equal(state[key], value) for key, value in random_state(VARIANT).items())


@pytest.mark.whole
def test_the_tool_measures_in_turn_and_reports(tmp_path: Path) -> None:
    peer = "torchvision"
    done = run(
        COMMAND, "--task", "detector", "--best", "--contestants", OWN, peer, "--variant", VARIANT,
        "--size", "64x64", "96x64", "--mode", "eager", "--layout", "own", "--turns", 2,
        "--device", "cpu", "--out", tmp_path, PYTHONPATH=str(ROOT),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (result,) = report.read(tmp_path.glob("*.json"))
    assert result["tuned"]["float32"]["ways"]
    rows = result["rows"]
    assert [row["label"] for row in rows] == [OWN, f"{OWN}, plain", peer]
    for row in rows:
        assert row["best"]
        assert len(row["seconds"]) == 2
        assert row["median"] > 0
        assert row["images_per_second"] == pytest.approx(2 / row["median"])
        assert row["output_error"] <= 1e-5
        assert row["peak_bytes"] > 1e8
        assert row["kept_bytes"] > 1e6
        if row["contestant"] == peer:
            assert row["ratio"] == 1
    assert tables.markdown(result).startswith("| ratio | implementation |")
    for word in (peer, "float32", result["hardware"], result["commit"], "Tuning took"):
        assert word in report.section(result)
    (picture,) = tmp_path.glob("*.png")
    assert file_name(result["hardware"]) in picture.stem


def test_results_of_two_processors_lie_beside_each_other() -> None:
    names = "Intel(R) Xeon(R) Processor, 2 threads", "AMD EPYC, 2 threads", "NVIDIA H200"
    expected = ["intel_xeon_2_threads", "amd_epyc_2_threads", "nvidia_h200"]
    assert [file_name(name) for name in names] == expected


def test_a_size_that_is_none_is_named() -> None:
    done = run(COMMAND, "--size", "800", PYTHONPATH=str(ROOT))
    assert done.returncode == 2
    assert "800: use HEIGHTxWIDTH" in done.stderr


def test_the_document_holds_the_committed_results(tmp_path: Path) -> None:
    copy = Path(shutil.copy(report.DOCUMENT, tmp_path))
    text = copy.read_text(encoding="utf-8")
    report.update_document(copy)
    assert copy.read_text(encoding="utf-8") == text
    for result in report.read(report.DATA.glob("*.json")):
        assert dict(columns.COLUMNS)["seconds"](result["rows"][0]) in text
    lacks = {**result, "failed": [{"label": "a", "precision": "b", "error": "Error: c."}]}
    assert "a in b failed: Error: c. " in report.section(lacks).replace("\n", " ") + " "


def test_the_commit_is_dirty_where_code_was_changed(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        command = ["git", *who, *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)

    (tmp_path / "docs" / "benchmarks").mkdir(parents=True)
    (tmp_path / "code.py").write_text("1")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    head = git("rev-parse", "HEAD").stdout.strip()
    (tmp_path / "docs" / "benchmarks" / "result.json").write_text("{}")
    assert commit(tmp_path) == head
    (tmp_path / "code.py").write_text("2")
    assert commit(tmp_path) == f"{head}-dirty"
    (tmp_path / ".gitignore").write_text("installed")
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "code.py").write_text("3")
    assert commit(tmp_path / "installed") == commit(tmp_path.parent) == ""


def test_single_precision_is_not_rounded_unless_it_is_asked_for() -> None:
    """As GPUs do by default in convolutions; the others have no such precision."""
    backends = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [backend.allow_tf32 for backend in backends]
    try:
        for precision in ("tf32", "float32"):
            set_tf32(precision)
            assert all(b.allow_tf32 == (precision == "tf32") for b in backends)
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed
    assert not Entry(OWN, "tf32").is_possible(setting("detector"))
    assert Entry(OWN, "tf32").is_possible(replace(setting("detector"), device="cuda"))
