"""Whatever a training program puts around a trunk: each door loads its values, or says why not."""

from __future__ import annotations

import argparse
import importlib.util
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import SMALL, drawn, small
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from resnext_backbones import ResNeXt
from resnext_backbones.adapters.torchvision import NamedResNeXt
from resnext_backbones.build import build_backbone
from resnext_backbones.variants import VARIANTS
from resnext_backbones.weights import WeightsError, load_weights
from resnext_backbones.weights.write import convert

STATE = {key: value.contiguous() for key, value in small().state_dict().items()}
WORDS = ["module", "net", "backbone", "body", "encoder_q", "Teacher", "_orig_mod", "0", "bottom_up"]
KEYS = ["state_dict", "model", "module", "network", "Net", "ema", "weights", "checkpoint"]
EXTRAS: dict[str, Any] = {
    "epoch": 3,
    "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]},
    "args": argparse.Namespace(lr=0.1, data=Path("/data")),
    "scaler": {},
    "queue": torch.ones(3),
    "names": ["a", "b"],
    "rng": torch.get_rng_state(),
    "nothing": None,
}
VARIANT = "fuzzed"


@pytest.fixture(autouse=True, scope="module")
def variant() -> Iterator[None]:
    """A small network by a name, as some doors want it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VARIANTS, VARIANT, SMALL)
        yield


def by_pickle(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content, 4))


FILES: dict[str, Callable[[Any, Path], None]] = {
    "zip": torch.save,
    "old": lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
    "later": lambda content, path: torch.save(content, path, pickle_protocol=5),
    "pickle": by_pickle,
}


def from_folder(path: Path) -> nn.Module:
    folder = path.parent / "saved"
    drawn().save_pretrained(folder)
    path.replace(folder / "model.safetensors")
    return ResNeXt.from_pretrained(folder)


def converted(path: Path) -> nn.Module:
    convert(path, path.with_suffix(".out"), "mmdet", overwrite=True)
    own = drawn()
    load_weights(own, path.with_suffix(".out"))
    return own


def loaded(own: nn.Module, path: Path) -> nn.Module:
    load_weights(own, path)
    return own


def by_the_hub(path: Path) -> nn.Module:
    """As `torch.hub` calls the file of entries."""
    where = Path(__file__).parents[2] / "hubconf.py"
    spec = importlib.util.spec_from_file_location("hubconf", where)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module._entry(VARIANT)(weights=path)


DOORS: dict[str, Callable[[Path], nn.Module]] = {
    "load_weights": lambda path: loaded(drawn(), path),
    "build_backbone": lambda path: build_backbone(VARIANT, weights=path),
    "from_pretrained": from_folder,
    "convert": converted,
    "torchvision": lambda path: loaded(NamedResNeXt(SMALL, names="0123"), path),
    "the Hub": by_the_hub,
}


@st.composite
def wrapped(draw: st.DrawFn) -> Any:
    """A state dict as it is found: behind words, within keys, and beside other things."""
    words = draw(st.lists(st.sampled_from(WORDS), max_size=3))
    prefix = "".join(f"{word}." for word in words)
    content: Any = {prefix + key: value for key, value in STATE.items()}
    for key in draw(st.lists(st.sampled_from(KEYS), max_size=2)):
        beside = draw(st.lists(st.sampled_from(sorted(EXTRAS)), max_size=3))
        content = {key: content} | {name: EXTRAS[name] for name in beside}
        content = draw(st.sampled_from([content, [content], (content, {})]))
    return content


@pytest.mark.parametrize("door", DOORS)
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=wrapped(), kind=st.sampled_from(sorted(FILES)), data=st.data())
def test_a_door_loads_the_right_values_or_says_why(
    door: str, content: Any, kind: str, data: st.DataObject, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    FILES[kind](content, path)
    state = dict(DOORS[door](path).state_dict())
    assert all(torch.equal(state[key], value) for key, value in STATE.items())
    FILES[kind](content, path)
    raw = bytearray(path.read_bytes())
    # Values have no check sum: what damages these is read.
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, min(len(raw), 8000) - 1))
        raw[at : at + data.draw(st.sampled_from([0, 1, 1, 8]))] = data.draw(st.binary(max_size=3))
    path.write_bytes(raw if data.draw(st.booleans()) else raw[: len(raw) // 2])
    try:
        state = dict(DOORS[door](path).state_dict())
    except WeightsError:
        return
    assert all(state[key].isfinite().all() for key in STATE)


def test_several_are_never_mixed(tmp_path: Path) -> None:
    """Of two trunks whose parts lie in both, neither is made of both."""
    half = len(STATE) // 2
    first = {f"a.{key}": value for key, value in list(STATE.items())[:half]}
    second = {f"b.{key}": value for key, value in list(STATE.items())[half:]}
    save_file(first | second, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"missing: "):
        load_weights(drawn(), tmp_path / "w.safetensors")
