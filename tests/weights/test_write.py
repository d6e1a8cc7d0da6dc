"""Weights written for a framework are that framework's, and come back bit by bit."""

from __future__ import annotations

import json
import os
import re
import subprocess
from itertools import permutations
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from forked import WEIGHTS, run_forked
from helpers import drawn, randomise, relative_error, small
from safetensors import safe_open
from safetensors.torch import save_file

from benchmarks.contestants import CONTESTANTS
from resnext_backbones import ResNeXtClassifier, build_backbone, build_classifier, load_weights
from resnext_backbones.errors import InputError
from resnext_backbones.variants import VARIANTS
from resnext_backbones.weights import WeightsError, preprocessing_of
from resnext_backbones.weights.checkpoint import Checkpoint
from resnext_backbones.weights.files import read_file
from resnext_backbones.weights.formats import TARGETS
from resnext_backbones.weights.preprocessing import BGR, RGB
from resnext_backbones.weights.registry import REGISTRY
from resnext_backbones.weights.write import convert, write_state

ROOT = Path(__file__).parents[2]
VARIANT = "resnext50_32x4d"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    """A classifier's weights, as torchvision publishes them."""
    state = randomise(torchvision.models.resnext50_32x4d()).state_dict()
    path = tmp_path_factory.mktemp("published") / "weights.pth"
    torch.save(state, path)
    return path, state


@pytest.mark.parametrize(("first", "second"), list(permutations(TARGETS, 2)))
def test_every_direction_there_and_back(first: str, second: str, tmp_path: Path) -> None:
    source = small(ResNeXtClassifier, num_classes=7)
    with torch.no_grad():  # what is hard to keep
        source.bn1.weight[:3] = torch.tensor([-0.0, 1e-42, 3.4e38])
    write_state(source.state_dict(), tmp_path / "first", first, {})
    convert(tmp_path / "first", tmp_path / "second", second)
    convert(tmp_path / "second", tmp_path / "again", first)
    # All values and names; archives also have their own name inside.
    before, after = (Checkpoint.of(read_file(tmp_path / name)) for name in ("first", "again"))
    assert before.state.keys() == after.state.keys()
    assert before.family == after.family
    own = drawn(ResNeXtClassifier, num_classes=7)
    load_weights(own, tmp_path / "again")
    for key, value in source.state_dict().items():
        bits = own.state_dict()[key].contiguous().view(-1).view(torch.uint8)
        assert torch.equal(bits, value.contiguous().view(-1).view(torch.uint8)), key


def test_torchvision_and_timm_take_theirs(published, tmp_path: Path) -> None:
    path, state = published
    convert(path, tmp_path / "x.safetensors", "safetensors")
    for to, model in (
        ("torchvision", torchvision.models.resnext50_32x4d()),
        ("timm", timm.create_model(VARIANT)),
    ):
        convert(tmp_path / "x.safetensors", tmp_path / to, to)
        model.load_state_dict(torch.load(tmp_path / to, weights_only=True))
        assert all(torch.equal(model.state_dict()[k], v) for k, v in state.items())


def test_timms_deep_stem(tmp_path: Path) -> None:
    source = randomise(build_classifier("resnext50d_32x4d"))
    write_state(source.state_dict(), tmp_path / "w", "timm", {})
    peer = timm.create_model("resnext50d_32x4d").eval()
    peer.load_state_dict(torch.load(tmp_path / "w", weights_only=True))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert relative_error(source.eval()(images), peer(images)) <= 1e-5


def test_mmdetection_takes_its_own(published, tmp_path: Path) -> None:
    backbones = pytest.importorskip("mmdet.models.backbones")
    runner = pytest.importorskip("mmengine.runner")
    convert(published[0], tmp_path / "w.pth", "mmdet")
    model = backbones.ResNeXt(depth=50, groups=32, base_width=4)
    runner.load_checkpoint(model, str(tmp_path / "w.pth"), map_location="cpu")
    state = published[1]
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_detectron2_takes_its_own(published, tmp_path: Path) -> None:
    checkpoint = pytest.importorskip("detectron2.checkpoint", reason="Detectron2 is not installed")
    held = convert(published[0], tmp_path / "w.pkl", "detectron2").held
    assert (held.variant, held.family) == (VARIANT, "torchvision")
    model = CONTESTANTS["detectron2"].trunk(VARIANT).model
    checkpoint.DetectionCheckpointer(model).load(str(tmp_path / "w.pkl"))
    own = build_backbone(VARIANT).eval()
    load_weights(own, published[0])
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for a, b in zip(own(images), model.eval()(images).values(), strict=True):
            assert relative_error(a, b) <= 1e-5


def test_metadata_travel_and_are_not_contradicted(published, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    convert(published[0], path, "safetensors", preprocessing=BGR)
    assert preprocessing_of(path) == BGR
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["variant"] == VARIANT
        assert file.metadata()["norms"] == "trained"
    again = tmp_path / "b.safetensors"
    assert convert(path, again, "safetensors")[1] == BGR
    for to in TARGETS:
        convert(again, dest := tmp_path / f"{to}.pth", to)
        assert preprocessing_of(dest) == BGR, to
    convert(again, tmp_path / "w.pth", "mmdet")
    meta = torch.load(tmp_path / "w.pth", weights_only=True)["meta"]
    assert json.loads(meta["pixel_mean"]) == list(BGR.mean)
    for said in (again, tmp_path / "w.pth"):
        with pytest.raises(InputError, match=rf"--pixels RGB, .*{said.name} says BGR, mean"):
            convert(said, tmp_path / "other.pth", "timm", preprocessing=RGB)
    assert not (tmp_path / "other.pth").exists()


SE50 = "seresnext50_32x4d", "legacy_seresnext50_32x4d"


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tensors alone, of which several networks have the same."""
    with torch.device("meta"):
        state = build_backbone(SE50[0]).state_dict()
    path = tmp_path_factory.mktemp("silent") / "weights.pth"
    torch.save({k: torch.ones(v.shape, dtype=v.dtype) for k, v in state.items()}, path)
    return path


def test_what_a_source_does_not_say_is_assumed_aloud(silent: Path, tmp_path: Path) -> None:
    done = convert(silent, tmp_path / "w.safetensors", "safetensors")
    assert done.assumed
    assert done.assumption == (
        "stride_in_1x1=False, pooling='max', activation='ReLU', eps=1e-05, convolution='plain', of "
        + " or ".join(SE50)
    )
    with safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        assert "architecture" not in file.metadata()


@pytest.mark.parametrize(("variant", "pooling"), list(zip(SE50, ("max", "ceil"), strict=True)))
def test_a_variant_is_chosen(variant: str, pooling: str, silent: Path, tmp_path: Path) -> None:
    """The target then has the names of that network, and its file says which one it is."""
    done = convert(silent, tmp_path / "w.pth", "timm", variant=variant)
    assert not done.assumption
    assert done.network == VARIANTS[variant]
    held = Checkpoint.of(read_file(tmp_path / "w.pth"))
    assert held.family == ("legacy" if pooling == "ceil" else "torchvision")
    assert held.presupposed == VARIANTS[variant]
    other = next(name for name in SE50 if name != variant)
    with pytest.raises(WeightsError, match=f"trained with pooling='{pooling}'"):
        convert(tmp_path / "w.pth", tmp_path / "x.pth", "mmdet", variant=other)
    with pytest.raises(WeightsError, match=f"holds {' or '.join(SE50)}, not gcresnext50ts. Noth"):
        convert(silent, tmp_path / "x.pth", "mmdet", variant="gcresnext50ts")
    assert not (tmp_path / "x.pth").exists()


def test_what_a_registry_says_is_written(published, tmp_path: Path, monkeypatch) -> None:
    row = REGISTRY["fair/resnext50_32x4d.swsl"]
    monkeypatch.setattr("resnext_backbones.weights.write.locate", lambda _: published[0])
    convert(row.alias, tmp_path / "a.safetensors", "safetensors")
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert file.metadata()["licence"] == "CC BY-NC 4.0"
        assert file.metadata()["source"] == row.alias
    assert preprocessing_of(tmp_path / "a.safetensors") == RGB


@pytest.mark.parametrize(
    ("options", "to", "message"),
    [
        ({"stem": "deep"}, "torchvision", "no name for stem.0.weight"),
        ({"stem": "deep"}, "detectron2", "no name for stem.0.weight"),
        ({"shortcut": "pooled"}, "detectron2", "no name for layer1.0.downsample"),
    ],
)
def test_what_a_family_has_no_names_for(options, to: str, message: str, tmp_path: Path) -> None:
    state = drawn(ResNeXtClassifier, **options).state_dict()
    with pytest.raises(WeightsError, match=message):
        write_state(state, tmp_path / "w", to, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("absent", ["layer2.0.bn2.weight", "bn1.weight", "layer3.0.conv3.weight"])
def test_half_a_trunk_is_not_converted(absent: str, tmp_path: Path) -> None:
    state = drawn(ResNeXtClassifier).state_dict()
    del state[absent]
    torch.save(state, tmp_path / "half.pth")
    with pytest.raises(WeightsError, match=rf"Nothing was written.\n +1 missing: {absent}"):
        convert(tmp_path / "half.pth", tmp_path / "w.pth", "mmdet")
    assert not (tmp_path / "w.pth").exists()


@pytest.mark.parametrize("to", TARGETS)
def test_tensors_that_share_memory_are_written_apart(to: str, tmp_path: Path) -> None:
    """Also those that are of two types, and a small part of what is large."""
    large = torch.arange(1_000_000.0)
    state = dict(small().state_dict())
    state["bn1.weight"], state["bn1.bias"] = large[:16], large[:8].view(torch.bfloat16)
    write_state(state, tmp_path / "w", to, {})
    assert (tmp_path / "w").stat().st_size < large.nbytes
    read = Checkpoint.of(read_file(tmp_path / "w"), source="w").state
    assert torch.equal(read["bn1.bias"].float(), state["bn1.bias"].float())


def test_nothing_is_overwritten_or_left_half(published, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "there"
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="there"):
        convert(published[0], path, "timm")
    assert path.read_bytes() == b"mine"
    monkeypatch.setattr(torch, "save", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises((OSError, RuntimeError)):
        convert(published[0], path, "timm", overwrite=True)
    assert path.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [path]


def test_the_tool(published, tmp_path: Path) -> None:
    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        program = [str(ROOT / "tools" / "convert_weights.py"), *map(str, arguments)]
        return run_forked(program, dict(os.environ), WEIGHTS)

    detector = {f"backbone.{k}": v.contiguous() for k, v in published[1].items()}
    save_file(detector | {"neck.weight": torch.ones(1)}, tmp_path / "detector.safetensors")
    dest = tmp_path / "x50.safetensors"
    arguments = tmp_path / "detector.safetensors", dest, "--to", "safetensors"
    done = run(*arguments, "--pixels", "RGB")
    assert done.returncode == 0, done.stderr
    assert VARIANT in done.stdout
    assert f"pixels: {RGB}" in done.stdout
    assert "left out: 1 tensors beside the trunk, neck.weight" in done.stdout
    assert preprocessing_of(dest) == RGB
    assert f"convolution='plain', of {VARIANT}; --variant NAME says it" in done.stdout
    again = run(*arguments)
    assert again.returncode == 2
    assert "there is a file already; --overwrite replaces it" in again.stderr
    absent = run(tmp_path / "absent.pth", f"{dest}2", "--to", "timm")
    assert absent.returncode == 2
    assert re.fullmatch(r"error: .*absent.pth: there is no such file\n", absent.stderr)
