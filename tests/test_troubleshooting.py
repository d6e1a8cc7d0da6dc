"""What the page on troubleshooting promises: seen here, or in the test that is named."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import quick

from resnext_backbones import build_backbone, load_weights

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def mmcv_without_operators() -> None:
    pytest.importorskip("mmcv", reason="mmcv is not installed")
    alone = python("import mmcv.ops")
    if alone.returncode:  # else mmcv was compiled
        assert "No module named 'mmcv._ext'" in alone.stderr
    assert python("import resnext_backbones.mmcv_ops, mmcv.ops").returncode == 0


def no_adapter() -> None:
    pytest.importorskip("mmdet", reason="MMDetection is not installed")
    build = "from mmengine.registry import MODELS, Registry\nMODELS.build(dict(type='{}'))"
    plain = python("import resnext_backbones\n" + build.format("resnext_backbones.ResNeXt"))
    assert "missing 1 required positional argument: 'architecture'" in plain.stderr
    unknown = python("import resnext_backbones\n" + build.format("ResNeXt"))
    assert "KeyError: 'ResNeXt is not in the mmengine::model registry" in unknown.stderr


def another_network() -> None:
    trunk = build_backbone("resnext26_32x4d", out_indices=(0,))
    state = build_backbone("resnext50_32x8d", out_indices=(0,)).state_dict()
    with pytest.raises(RuntimeError, match=r"size mismatch for layer1\.0\.conv1\.weight"):
        trunk.load_state_dict({key: state[key] for key in trunk.state_dict()})
    with pytest.raises(RuntimeError, match=r"Missing key.*Unexpected key|Unexpected key"):
        trunk.load_state_dict({f"model.{key}": value for key, value in state.items()})
    with pytest.raises(Exception, match=r"the file holds .*; the network is .*resnext26_32x4d"):
        load_weights(trunk, save({"model": state}))


def save(content: object) -> Path:
    path = Path("file.pth")
    torch.save(content, path)
    return path


def other_objects() -> None:
    trunk = build_backbone("resnext26_32x4d", out_indices=(0,))
    path = save({"model": trunk.state_dict(), "args": argparse.Namespace(lr=1)})
    with pytest.raises(Exception, match=r"(?s)Weights only load failed.*Unsupported global"):
        torch.load(path, weights_only=True)
    load_weights(trunk, path)


def memory_order() -> None:
    (maps,) = build_backbone("resnext26_32x4d", out_indices=(0,))(torch.randn(2, 3, 64, 64))
    with pytest.raises(RuntimeError, match=r"view size is not compatible"):
        maps.view(-1)
    maps.reshape(-1), maps.contiguous().view(-1)
    plain = build_backbone("resnext26_32x4d", out_indices=(0,), channels_last=False)
    plain(torch.randn(2, 3, 64, 64))[0].view(-1)


def one_value() -> None:
    images = torch.randn(1, 3, 32, 32)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        build_backbone("resnext26_32x4d").train()(images)
    build_backbone("resnext26_32x4d", norm_eval=True).train()(images)


DOCTOR = "tests/reports/test_doctor.py::test_an_error_has_its_cause_and_what_mends_it"
BFLOAT16 = "tests/engine/test_optim.py"
SEEN: dict[str, Callable[[], None] | str] = {
    # How a heading begins: what shows it.
    "ModuleNotFoundError: No module named 'mmcv._ext'": mmcv_without_operators,
    "mmcv/_ext.so: undefined symbol": DOCTOR,
    "ImportError: libGL.so.1": DOCTOR,
    "MMCV==2.2.0 is used": "test_openmmlabs_old_packages_are_found_as_elsewhere",
    "A module that was compiled using NumPy": DOCTOR,
    "No module named 'detectron2'": "tests/adapters/test_detectron2_absent.py",
    "KeyError: 'ResNeXt is not in": no_adapter,
    "TypeError: ResNeXt.": no_adapter,
    "The num_classes (80)": "test_heads_that_do_not_fit_are_named",
    "data root data/coco": "test_bad_input_ends_with_one_message",
    "`--work-dir`: holds": "test_an_earlier_run_is_not_overwritten",
    "`--work-dir`: another run": "test_one_run_at_a_time_trains_in_a_folder",
    "My setting has no effect": "test_entries_that_nothing_reads_are_told_of",
    "size mismatch for backbone": another_network,
    "Missing key(s)": another_network,
    "The model and loaded state dict": "test_a_backbone_in_part_is_a_problem",
    "Weights only load failed": other_objects,
    "expect pixels of BGR": "test_mmengines_runner_refuses_other_pixels",
    "frozen_stages=1, but": "test_frozen_stages_need_weights",
    "SHA-256 is not": "tests/weights/test_download.py",
    "CUDA out of memory": "test_it_ends_with_what_takes_less",
    "DataLoader worker": "test_a_worker_that_was_killed_is_named_whatever_its_error_became",
    "loss is nan": "tests/engine/test_loop.py",
    "AP is 0": "test_all_that_is_accepted_is_measured_right",
    "RuntimeError: expected scalar type": BFLOAT16,
    "ValueError: Expected more than 1": one_value,
    "RuntimeError: view size": memory_order,
    "It is slow": "tests/benchmarks/test_loading.py",
    "torchrun hangs": "test_where_rank_0_is_must_be_known",
    "NCCL timeout": "test_a_host_that_is_gone_is_named",
    "EADDRINUSE": "test_a_port_that_is_taken",
    "Killed by Slurm": "test_a_terminated_run_goes_on_to_the_same_weights",
}


def test_every_symptom_was_seen() -> None:
    headings = re.findall(r"^### (.+)$", TEXT, re.M)
    plain = [heading.replace("\\", "") for heading in headings]
    for heading in plain:
        assert sum(heading.startswith(begin) for begin in SEEN) == 1, heading
    assert len(plain) == len(SEEN)
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for named in SEEN.values():
        if isinstance(named, str):
            path, _, name = named.rpartition("::")
            if path:
                assert f"def {name}(" in (ROOT / path).read_text(), named
            else:
                assert (ROOT / named).is_file() or f"def {named}(" in tests, named


CHECKS = {check.__name__: check for check in SEEN.values() if callable(check)}
QUICK = [name for name in CHECKS if name not in ("mmcv_without_operators", "no_adapter")]


@pytest.mark.parametrize("name", quick(CHECKS, QUICK))
def test_a_symptom(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    CHECKS[name]()
