"""Sharing networks: huggingface_hub's mixin, and torch.hub."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import drawn, small
from huggingface_hub.errors import EntryNotFoundError
from safetensors.torch import save_file
from torch import nn

from resnext_backbones import ResNeXt, ResNeXtClassifier, list_variants, load_weights
from resnext_backbones.models.layers import Plugin
from resnext_backbones.models.parts.convolutions import StandardisedConv2d
from resnext_backbones.weights import WeightsError, download
from resnext_backbones.weights.identify import network_name

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("cls", "options"), [(ResNeXt, {"frozen_stages": 1}), (ResNeXtClassifier, {"num_classes": 7})]
)
def test_saved_and_loaded_whole(cls: type[ResNeXt], options: dict, tmp_path: Path) -> None:
    model = small(cls, **options).eval()
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert options.items() <= config.items()
    written = (tmp_path / "model.safetensors").read_bytes()
    assert written.index(b'"architecture":') < written.index(b'"format":')  # the same each time
    again = cls.from_pretrained(tmp_path)
    images = torch.randn(1, 3, 64, 64)
    for a, b in zip(model(images), again(images), strict=True):
        assert torch.equal(a, b)
    # The weights file is one like any other.
    own = drawn(cls, **options)
    load_weights(own, tmp_path / "model.safetensors")
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in own.state_dict().items())


class Halved(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) / 2


def in_two_ways(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, eps=0.1 if channels > 16 else 1e-5)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"norm": in_two_ways}, r"eps.*\(1e-05, 0.1\)"), ({"conv": Halved}, "convolution.*'Halved'")],
)
def test_what_no_argument_says_is_not_saved(options: dict, named: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"config.json cannot hold what built it.*{named}"):
        drawn(**options).save_pretrained(tmp_path)
    drawn(attention="GC").save_pretrained(tmp_path)  # whose norm has an eps of its own


def with_another_head() -> nn.Module:
    network = drawn(ResNeXtClassifier)
    network.fc = nn.Linear(network.fc.in_features, 7)
    return network


CHANGED: dict[str, tuple[Callable[[], Any], str]] = {
    "a plugin": (
        lambda: drawn(plugins=[[Plugin(1, lambda _: ("twice", nn.Dropout2d()))], [], [], []]),
        "layer1.0.twice",
    ),
    "a head": (with_another_head, r"fc.bias \(.*,\), fc.bias \(7,\)"),
    "fused norms": (lambda: small().eval().fuse(), "bn1"),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_network_that_was_changed_is_not_saved(what: str, tmp_path: Path) -> None:
    build, named = CHANGED[what]
    with pytest.raises(ValueError, match=f"config.json cannot hold what built it.*{named}"):
        build().save_pretrained(tmp_path)


def test_norms_that_were_made_one_over_processes_are_saved(tmp_path: Path) -> None:
    model = nn.SyncBatchNorm.convert_sync_batchnorm(drawn())
    model.save_pretrained(tmp_path)
    again = ResNeXt.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in model.state_dict().items())


def test_what_an_architecture_says_of_layers_is_saved(tmp_path: Path) -> None:
    """Layers that were given, and an eps that norms were given later."""
    for number, options in enumerate(
        (
            {"norm": partial(nn.GroupNorm, 4, eps=0.1)},
            {"norm": partial(nn.BatchNorm2d, eps=0.1), "conv": StandardisedConv2d},
        )
    ):
        model = small(**options).eval()
        for norm in (each for each in model.modules() if hasattr(each, "num_features")):
            norm.eps = 0.2
        model.save_pretrained(tmp_path / str(number))
        again = ResNeXt.from_pretrained(tmp_path / str(number))
        images = torch.randn(1, 3, 64, 64)
        for a, b in zip(model(images), again(images), strict=True):
            assert torch.equal(a, b)


UNFIT = {
    "missing": ({"layer2.0.bn1.bias": None}, "1 missing: layer2.0.bn1.bias"),
    "extra": ({"layer2.0.x.weight": torch.ones(1)}, "1 unexpected: layer2.0.x.weight"),
    "shape": ({"bn1.weight": torch.ones(3)}, "1 of another shape: bn1.weight (3,) for (16,)"),
    "NaN": ({"bn1.weight": torch.full((16,), torch.nan)}, "1 with NaN or infinity: bn1.weight"),
    "integers": (
        {"bn1.weight": torch.ones(16, dtype=torch.int64)},
        "1 not floating point: bn1.weight (torch.int64)",
    ),
}
"""What a file has in place of some tensors of its network, and what is said of it."""


@pytest.mark.parametrize("what", UNFIT)
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_from_pretrained_is_as_strict_as_load_weights(
    what: str, name: str, tmp_path: Path, monkeypatch
) -> None:
    changes, message = UNFIT[what]
    model = drawn()
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    changed = model.state_dict() | changes
    state = {key: value.contiguous() for key, value in changed.items() if value is not None}
    (save_file if name.endswith("safetensors") else torch.save)(state, tmp_path / name)

    def download(*, filename: str, **_: object) -> str:
        if not (tmp_path / filename).is_file():
            raise EntryNotFoundError(filename)
        return str(tmp_path / filename)

    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", download)
    network = network_name(model.state_dict())
    for load in (
        lambda: load_weights(drawn(), tmp_path / name),
        lambda: ResNeXt.from_pretrained("owner/name"),
    ):
        with pytest.raises(WeightsError) as caught:
            load()
        assert str(caught.value) == (
            f"weights {tmp_path / name}: the file holds {network}; the network is {network}. Its "
            f"names are torchvision's. Nothing was loaded.\n  {message}"
        )


def test_from_pretrained_names_another_network_and_takes_half_precision(tmp_path: Path) -> None:
    model = drawn()
    model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    save_file({key: v.half().contiguous() for key, v in model.state_dict().items()}, path)
    again = ResNeXt.from_pretrained(tmp_path)
    assert not again.training
    assert again.conv1.weight.dtype == torch.float32
    assert torch.equal(again.conv1.weight, model.conv1.weight.half().float())
    drawn(activation="SiLU").save_pretrained(tmp_path / "silu")
    (tmp_path / "silu" / "model.safetensors").rename(path)
    with pytest.raises(
        WeightsError, match=r"activation='SiLU', and the network has activation='ReLU'"
    ):
        ResNeXt.from_pretrained(tmp_path)
    drawn(cardinality=8).save_pretrained(tmp_path / "wide")
    (tmp_path / "wide" / "model.safetensors").rename(path)
    with pytest.raises(WeightsError, match=r"file holds a 8x4d network.*; the network is a 4x4d"):
        ResNeXt.from_pretrained(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"model.safetensors: there is no such file"):
        ResNeXt.from_pretrained(tmp_path)


def test_pushed_with_its_config_and_a_card(monkeypatch) -> None:
    pushed: dict[str, set[str]] = {}

    def upload_folder(_, *, repo_id: str, folder_path: Path, **__: object) -> None:
        pushed[repo_id] = {path.name for path in Path(folder_path).iterdir()}

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", lambda *_, **kw: _Repository(kw))
    monkeypatch.setattr("huggingface_hub.HfApi.upload_folder", upload_folder)
    drawn().push_to_hub("owner/name")
    assert pushed == {"owner/name": {"config.json", "model.safetensors", "README.md"}}


class _Repository:
    def __init__(self, arguments: dict) -> None:
        self.repo_id = arguments["repo_id"]


def test_a_file_of_the_hub_is_a_source(tmp_path: Path, monkeypatch) -> None:
    model = drawn()
    model.save_pretrained(tmp_path)
    monkeypatch.setattr(
        "huggingface_hub.hf_hub_download",
        lambda repository, name: tmp_path / name if repository == "owner/name" else None,
    )
    own = drawn()
    load_weights(own, "hf://owner/name/model.safetensors")
    assert torch.equal(own.conv1.weight, model.conv1.weight)


def test_a_hub_that_cannot_be_reached_is_named(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))

    def offline(*_: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    with pytest.raises(WeightsError, match=r"hf://owner/name/a.safetensors: cannot be had: no net"):
        download.from_hub("owner/name", "a.safetensors")


def test_torch_hub_has_every_variant(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("hubconf", ROOT / "hubconf.py")
    hubconf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hubconf)
    assert all(callable(getattr(hubconf, name)) for name in list_variants())
    options = {"source": "local", "frozen_stages": 1}
    model = torch.hub.load(str(ROOT), "resnext26_32x4d", **options)
    assert isinstance(model, ResNeXt)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    again = torch.hub.load(str(ROOT), "resnext26_32x4d", weights=str(tmp_path / "w.pth"), **options)
    assert torch.equal(model.conv1.weight, again.conv1.weight)
    logits = torch.hub.load(
        str(ROOT), "resnext26_32x4d", source="local", classifier=True, num_classes=3
    )(torch.randn(1, 3, 64, 64))
    assert logits.shape == (1, 3)
