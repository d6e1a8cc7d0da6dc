"""`resnext doctor` where a set-up is broken for real: each test breaks one, runs the command."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import packaging
import pytest
from tooling import ROOT

from resnext_backbones.reports.doctor import machine, rules
from resnext_backbones.reports.doctor.causes import explanation
from resnext_backbones.reports.doctor.installed import look
from resnext_backbones.reports.doctor.probing import Probe
from resnext_backbones.reports.doctor.rules import SetUp
from resnext_backbones.reports.doctor.text import private

HANG = "import time\ntime.sleep(600)"
CRASH = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)"
FINE = "__version__ = '1.0'"


class Python:
    """A Python that has the packages of one folder, and no others (`-S`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "packaging").symlink_to(Path(packaging.__file__).parent)
        # Beside the real one may lie what pip has written of it.
        self.checkout = folder.parent / "checkout"
        self.checkout.mkdir()
        for name in ("resnext_backbones", "pyproject.toml"):
            (self.checkout / name).symlink_to(ROOT / name)

    def install(
        self, name: str, code: str = FINE, *, of: str = "", version: str = "1.0", needs: str = ""
    ) -> None:
        """Writes a package of one file, by a distribution `of` another name, as pip would."""
        of = of or name
        (self.folder / name).mkdir(exist_ok=True)
        (self.folder / name / "__init__.py").write_text(code)
        info = self.folder / f"{of.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {of}", f"Version: {version}"]
        lines += [f"Requires-Dist: {needs}"] if needs else []
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        (info / "RECORD").write_text(f"{name}/__init__.py,,\n")

    def doctor(self, *arguments: str, **variables: str) -> tuple[int, list[str], str]:
        """Runs the command; returns its status, what does not fit, and all that it prints."""
        path = os.pathsep.join(map(str, (self.folder, self.checkout)))
        return doctor(["-S"], arguments, {"PYTHONPATH": path, **variables}, self.checkout)


def doctor(
    flags: list[str], arguments: tuple[str, ...], variables: dict[str, str], folder: Path = ROOT
) -> tuple[int, list[str], str]:
    done = subprocess.run(
        [sys.executable, *flags, "-m", "resnext_backbones", "doctor", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
        cwd=folder,
    )
    assert not done.stderr
    head = done.stdout.partition("\n== ")[0].partition("\n- ")[0]
    found = [each.strip() for each in re.split(r"^\d+\. ", head, flags=re.M)[1:]]
    assert done.returncode == (1 if found else 0)
    return done.returncode, found, done.stdout


@pytest.fixture
def python(tmp_path: Path) -> Python:
    return Python(tmp_path / "site-packages")


def about(found: list[str], word: str) -> str:
    """Returns the one finding that begins with a word."""
    (only,) = (each for each in found if each.startswith(word))
    return only


def test_without_torch_it_says_what_to_install(python: Python) -> None:
    python.install("numpy", version="2.2.6")
    status, found, text = python.doctor()
    assert status == 1
    (only,) = found
    assert only.startswith("not installed: torch, torchvision, safetensors")
    assert re.search(r"pip install torch torchvision safetensors", only)
    assert re.search(r"^numpy +2\.2\.6 +imported as 1\.0$", text, re.M)
    (python.folder / "packaging").unlink()  # nothing compares versions then
    _, found, text = python.doctor()
    assert found == [only]
    assert "versions were not compared" in text


def test_a_library_that_is_cut_off_is_named_with_what_mends_it(python: Python) -> None:
    python.install("torch", "from torch import _C")
    (python.folder / "torch" / "_C.so").write_bytes(b"\x7fELF")
    python.install("torchvision", "import torch")
    _, found, text = python.doctor()
    said = about(found, "torch 1.0 cannot be imported: ImportError")
    assert "a compiled file of it is damaged" in said
    assert re.search(r"pip install --force-reinstall --no-deps --no-cache-dir torch$", said)
    assert not [each for each in found if each.startswith("torchvision")]  # torch is the cause
    assert re.search(r"^torchvision +1\.0 +FAILS: ImportError", text, re.M)


def test_what_crashes_or_exits_takes_nothing_with_it(python: Python) -> None:
    python.install("PIL", CRASH, of="pillow")
    python.install("cv2", "import os\nos._exit(3)", of="opencv-python")
    python.install("matplotlib", "raise ValueError('no')")
    python.install("filelock", "import sys\nsys.exit('no')")
    python.install("huggingface_hub", "import absent_module")
    python.install("timm", "import timm.layers")
    python.install("transformers")
    _, found, text = python.doctor("--seconds", "60")
    said = about(found, "PIL 1.0 cannot be imported: ended by SIGSEGV")
    assert f"it was at {python.folder}/PIL/__init__.py:2 in <module>" in said
    assert "ended its process with status 3" in about(found, "cv2 1.0")
    assert about(found, "huggingface_hub 1.0").endswith("pip install absent_module")
    assert about(found, "timm 1.0").endswith("--no-cache-dir timm")  # a part of its own
    assert "SystemExit: no" in about(found, "filelock 1.0")
    assert not [each for each in found if each.startswith("matplotlib")]  # PIL may be the cause
    assert re.search(r"^matplotlib +1\.0 +FAILS: ValueError: no$", text, re.M)
    assert re.search(r"^transformers +1\.0 +imported$", text, re.M)


def test_any_opencv_is_the_one_that_is_needed(python: Python) -> None:
    """pip's names differ, and servers take the one without a display."""
    python.install("mmcv", of="onedl-mmcv", needs="opencv-python>=4.10")
    python.install("cv2", of="opencv-python-headless", version="4.12.0")
    _, found, _ = python.doctor()
    assert not [each for each in found if "opencv" in each]
    (python.folder / "opencv_python_headless-4.12.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: opencv-python-headless\nVersion: 4.9\n"
    )
    _, found, _ = python.doctor()
    assert about(found, "onedl-mmcv 1.0 needs opencv-python>=4.10, but opencv-python 4.9 is")


def test_what_hangs_is_ended_and_says_where(python: Python) -> None:
    python.install("mmcv", HANG, of="onedl-mmcv")
    python.install("mmdet", of="onedl-mmdetection")  # behind it
    _, found, text = python.doctor("--seconds", "5")
    said = about(found, "mmcv 1.0 cannot be imported: had not ended after 5 s")
    assert f"it was at {python.folder}/mmcv/__init__.py:2 in <module>" in said
    assert re.search(r"^onedl-mmdetection +1\.0 +imported$", text, re.M)


def test_half_of_a_package_and_two_of_one_are_found(python: Python) -> None:
    python.install("torch", version="2.14.1")
    python.install("torch", version="2.9.0")
    python.install("numpy", version="2.2.6")
    (python.folder / "numpy" / "__init__.py").unlink()
    python.install("cv2", of="opencv-python", version="4.12.0.88")
    python.install("cv2", of="opencv-python-headless", version="4.12.0.88")
    (python.folder / "~orch").mkdir()
    (python.folder / "timm-1.0.dist-info").mkdir()  # without a description
    _, found, text = python.doctor()
    said = about(found, "numpy 2.2.6: 1 of its 1 files are missing, such as numpy/__init__.py")
    assert said.endswith("--no-cache-dir numpy==2.2.6")
    assert about(found, "numpy: there is a folder of this name without its first file")
    assert "2.14.1" in about(found, "torch: one folder has it as")
    assert not [each for each in found if "opencv" in each]
    for left in ("~orch", "timm-1.0.dist-info"):
        assert f"left {python.folder}/{left} behind" in text
    python.install("cv2", of="opencv-contrib-python", version="4.9.0.80")
    _, found, _ = python.doctor()
    said = about(found, "opencv-python 4.12.0.88, opencv-python-headless 4.12.0.88, opencv-contrib")
    assert said.endswith("opencv-contrib-python==4.12.0.88")


def test_versions_that_do_not_fit_name_the_command(python: Python) -> None:
    python.install("torch", version="2.14.1+cpu")
    python.install("torchvision", version="0.24.0", needs="torch==2.9.0")
    python.install("transformers", version="5.0", needs="huggingface-hub<2.0,>=1.0")
    python.install("huggingface_hub", of="huggingface_hub", version="0.30.0")
    python.install("numpy", version="1.20")
    python.install("timm", needs="torch")  # whatever its build
    _, found, _ = python.doctor()
    said = about(found, "torchvision 0.24.0 needs torch==2.9.0, but torch 2.14.1+cpu is installed")
    assert said.endswith("pip install --upgrade torch torchvision")
    said = about(found, "transformers 5.0 needs huggingface-hub")
    assert said.endswith("pip install --upgrade transformers huggingface-hub")
    assert about(found, "resnext-backbones needs numpy>=").endswith("pip install 'numpy>=1.26'")


def test_openmmlabs_old_packages_are_found_as_elsewhere(python: Python) -> None:
    python.install("mmcv", "import torch", of="mmcv-full", version="1.7")
    _, found, _ = python.doctor()
    said = about(found, "mmcv-full 1.7: installed, but this package needs the maintained line")
    assert said.endswith("pip install onedl-mmcv")
    assert not [each for each in found if each.startswith("mmcv 1.7")]


def test_what_stands_in_front_of_a_package_is_found(python: Python, tmp_path: Path) -> None:
    python.install("torch")
    (tmp_path / "torch.py").write_text("raise ImportError('mine')")
    path = os.pathsep.join(map(str, (tmp_path, python.folder, python.checkout)))
    _, found, _ = python.doctor(PYTHONPATH=path)
    assert about(found, f"torch is imported from {tmp_path}").endswith("unset PYTHONPATH")
    assert about(found, "torch 1.0 cannot be imported").endswith("ImportError: mine")


def test_limits_of_the_machine_are_found(python: Python) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, most[1]))
    try:
        _, found, text = python.doctor(TORCH_HOME="/dev/null/torch", PATH="/nowhere")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)
    assert "export TORCH_HOME=FOLDER" in about(found, "TORCH_HOME: /dev/null is no folder")
    assert "ulimit -n" in about(found, "a process may have 256 files open")
    assert "no C++ compiler" in text


GPUS = """
case "$*" in
*query*) echo "535.104, NVIDIA A100, 81920 MiB, 8.0";;
*) echo "| NVIDIA-SMI 535.104   Driver Version: 535.104   CUDA Version: 12.2 |";;
esac
"""


@pytest.mark.parametrize(
    ("tool", "torch", "said"),
    [
        (GPUS, {"cuda": None}, "torch 2.14.1 computes on the processor alone"),
        (GPUS, {"cuda": "13.0", "available": False}, "runs CUDA up to 12.2, and torch 2.14.1 was"),
        (GPUS, {"cuda": "12.6", "available": False}, "torch finds no GPU beside an NVIDIA driver"),
        (GPUS, {"cuda": "12.6", "available": True, "gpu_error": "no kernel image"}, "no kernel"),
        (GPUS, {"cuda": "12.6", "available": True, "gpu_error": ""}, ""),
        # By CUDA's libraries for older drivers.
        (GPUS, {"cuda": "13.0", "available": True, "gpu_error": ""}, ""),
        ("echo Driver/library version mismatch; exit 18", {"cuda": "12.6"}, ""),
    ],
)
def test_gpus_that_cannot_be_used_are_found(
    tool: str, torch: dict, said: str, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{tool}")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    facts = {"gpus": machine.gpus()}
    probe = Probe("torch", "2.14.1", torch)
    found = [each.what for each in rules.gpus(SetUp(look(), {"torch": probe}, facts, "", tmp_path))]
    assert len(found) == bool(said) or "mismatch" in tool
    assert all(said in each for each in found)


@pytest.mark.parametrize(
    ("error", "why", "mend"),
    [
        ("ImportError: libGL.so.1: cannot open shared object file", "display", "headless"),
        ("RuntimeError: operator torchvision::nms does not exist", "another torch", "torchvision"),
        ("ImportError: x.so: undefined symbol: _ZN3c10", "other versions", "--force-reinstall"),
        ("ValueError: numpy.dtype size changed, may indicate", "another numpy", "--upgrade"),
        (
            "ImportError: /lib/libstdc++.so.6: version `GLIBCXX_3.4.32' not found",
            "libstdc++",
            "LD_",
        ),
        ("ImportError: /lib/libc.so.6: version `GLIBC_2.38' not found", "C library", ""),
        ("OSError: libcudart.so.13: cannot open shared object file", "CUDA's", "torchvision"),
        ("ImportError: libtiff.so.5: cannot open shared object file", "library libtiff.so.5", ""),
        (
            "ImportError: cannot import name 'a' from 'huggingface_hub'",
            "too old",
            "huggingface_hub",
        ),
        ("ImportError: cannot import name 'a' from partially initialized module", "beside", ""),
    ],
)
def test_an_error_has_its_cause_and_what_mends_it(error: str, why: str, mend: str) -> None:
    found_why, found_mend = explanation(Probe("cv2", error=error), look())
    assert why in found_why
    assert mend in found_mend
    assert bool(mend) == bool(found_mend)


def test_names_and_secrets_are_left_out(monkeypatch) -> None:
    monkeypatch.setenv("USER", "ada")
    monkeypatch.setenv("HOME", "/home/ada")
    told = private(
        "/home/ada/x, /data/ada, ada@x, an ada, /home/bob/y, hf_abcdefghijklmnopq, //u:p@h/"
    )
    assert told == "~/x, /data/USER, USER@x, an ada, /home/USER/y, ***, //***@h/"


@pytest.mark.whole
def test_a_set_up_that_works_fits_and_has_pytorchs_own_account() -> None:
    status, found, text = doctor([], ("--seconds", "120"), {"PYTHONPATH": str(ROOT)})
    assert (status, found) == (0, [])
    assert "resnext doctor: all fits" in text
    for line in ("PyTorch version: ", "CPU:", "Versions of relevant libraries:"):
        assert line in text.partition("== torch.utils.collect_env")[2]
    assert re.search(r"^== operators of mmcv in use\n.*(torchvision|compiled)", text, re.M)
