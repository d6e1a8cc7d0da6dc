"""What no tensor shows is compared: what weights were trained with, and what a network has."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import PARTS, drawn, small
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from resnext_backbones import ResNeXt, ResNeXtClassifier, build_backbone, load_weights
from resnext_backbones.models.architecture import UNSEEN
from resnext_backbones.models.layers import Plugin
from resnext_backbones.models.parts.attention import ATTENTION
from resnext_backbones.variants import VARIANTS
from resnext_backbones.weights import WeightsError
from resnext_backbones.weights.formats import FORMATS, TARGETS
from resnext_backbones.weights.load import load_state
from resnext_backbones.weights.write import convert

TS = {"stage_groups": (4, 8, 16, 32), "stem": "tiered"}
SE = {"attention": "SE"}
SK = {"spatial": "SK"}
CSP = {"stage": "csp", "activation": "LeakyReLU"}


def is_refused(model: ResNeXt, state: dict[str, Tensor] | Path | str, message: str) -> None:
    """Checks that an error says this, and that nothing was loaded."""
    before = {key: value.clone() for key, value in model.state_dict().items()}
    load = load_weights if isinstance(state, Path | str) else load_state
    with pytest.raises(WeightsError, match=message) as caught:
        load(model, state, *(() if load is load_weights else ("it",)))
    assert "Nothing was loaded." in str(caught.value)
    for key, value in model.state_dict().items():
        assert value.is_meta or torch.equal(value, before[key])


@pytest.mark.parametrize(
    ("family", "trained", "built"),
    [
        ("byobnet", {**TS, "activation": "SiLU"}, {"activation": "ReLU"}),
        ("byobnet", {**TS, "activation": "SiLU"}, {"pooling": "average"}),
        ("sk", SK, {"activation": "SiLU"}),
        ("cspnet", CSP, {"activation": "ReLU"}),
        ("legacy", {**SE, "pooling": "ceil"}, {"pooling": "max"}),
        ("legacy", {**SE, "pooling": "ceil"}, {"activation": "SiLU"}),
        ("legacy", {**SE, "pooling": "ceil"}, {"stride_in_1x1": True}),
        (
            "legacy",
            {**SE, "pooling": "ceil", "cardinality": 1, "stride_in_1x1": True},
            {"stride_in_1x1": False},
        ),
        ("timm-regnet", {"stem": "3x3/2"}, {"stem": "3x3"}),
        ("torchvision-regnet", {"stem": "3x3/2"}, {"activation": "SiLU"}),
        ("pycls", {"stem": "3x3/2"}, {"stride_in_1x1": True}),
    ],
)
def test_names_say_it(family: str, trained: dict[str, Any], built: dict[str, Any]) -> None:
    source = small(**trained)
    state = {FORMATS[family].from_own(key): value for key, value in source.state_dict().items()}
    load_state(drawn(**trained), state, "it")
    (field, value) = next(iter(built.items()))
    was = f"{field}={getattr(source.architecture, field)!r}"
    is_refused(
        drawn(**trained | built), state, f"were trained with {was}, .* {field}={value!r}: .*{was}"
    )


@pytest.mark.parametrize(
    ("alias", "variant", "changes", "message"),
    [
        (
            "timm/seresnextaa101d_32x8d.sw_in12k_ft_in1k_288",
            "seresnext101d_32x8d",
            {},
            "pooling='average', .*='max'",
        ),
        (
            "timm/seresnext101d_32x8d.ah_in1k",
            "seresnextaa101d_32x8d",
            {},
            "pooling='max', .*='average'",
        ),
        (
            "timm/seresnext50_32x4d.racm_in1k",
            "legacy_seresnext50_32x4d",
            {},
            "pooling='max', .*='ceil'",
        ),
        (
            "timm/legacy_seresnext50_32x4d.in1k",
            "seresnext50_32x4d",
            {},
            "pooling='ceil', .*='max'",
        ),
        (
            "timm/resnext26ts.ra2_in1k",
            "resnext26ts",
            {"activation": "ReLU"},
            "activation='SiLU', .*='ReLU'",
        ),
        (
            "hf://timm/seresnextaa201d_32x8d.sw_in12k/model.safetensors",
            "seresnextaa201d_32x8d",
            {"pooling": "max"},
            "pooling='average', .*='max'",
        ),
    ],
)
def test_a_published_row_says_it_before_a_download(
    alias: str, variant: str, changes: dict[str, Any], message: str
) -> None:
    with torch.device("meta"):
        model = build_backbone(variant, **changes)
    is_refused(model, alias, message)


OTHER: dict[str, Any] = {
    "stride_in_1x1": True,
    "pooling": "average",
    "activation": "SiLU",
    "eps": 1e-3,
    "norm_groups": 4,
    "convolution": "standardised",
}
GROUPS: dict[str, Any] = {"norm_kind": "group", "norm_groups": 8}


def pair(field: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns a network's fields, and those of one that differs in this field alone."""
    usual = GROUPS if field == "norm_groups" else {}
    return usual | {field: OTHER[field]}, usual


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("field", UNSEEN)
def test_a_converted_file_says_it(field: str, to: str, tmp_path: Path) -> None:
    changes, usual = pair(field)
    small(**changes).save_pretrained(tmp_path / "saved")
    convert(tmp_path / "saved", tmp_path / "file", to)
    is_refused(drawn(**usual), tmp_path / "file", f"{field}={OTHER[field]!r}, .* {field}=")
    load_weights(drawn(**changes), tmp_path / "file")


HELD: dict[str, Callable[[ResNeXt], Any]] = {
    "alone": lambda net: net.state_dict(),
    "behind a prefix": lambda net: nn.ModuleDict({"backbone": net}).state_dict(),
    "in a run": lambda net: {"epoch": 1, "model": nn.ModuleDict({"body": net}).state_dict()},
    "copied": lambda net: copy.deepcopy(net).state_dict(),
    "pickled": lambda net: pickle.loads(pickle.dumps(net)).state_dict(),
    "compiled": lambda net: torch.compile(net).state_dict(),
    "on several devices": lambda net: nn.DataParallel(torch.compile(net)).state_dict(),
    "averaged": lambda net: {"model_ema": AveragedModel(net).state_dict()},
}
"""What programs put into files."""


@pytest.mark.parametrize("held", HELD.values(), ids=HELD)
@pytest.mark.parametrize("field", UNSEEN)
def test_a_plain_state_dict_says_it(field: str, held: Callable, tmp_path: Path) -> None:
    changes, usual = pair(field)
    content = held(small(ResNeXtClassifier, **changes))
    torch.save(content, tmp_path / "w.pth")
    message = f"{field}={OTHER[field]!r}, .* {field}="
    is_refused(drawn(**usual), content, message)
    is_refused(drawn(**usual), tmp_path / "w.pth", message)
    load_weights(drawn(**changes), tmp_path / "w.pth")
    read = torch.load(tmp_path / "w.pth", weights_only=True)
    load_state(drawn(**changes), read, "it")
    is_refused(drawn(**usual), read, message)
    convert(tmp_path / "w.pth", tmp_path / "w.safetensors", "safetensors")
    is_refused(drawn(**usual), tmp_path / "w.safetensors", message)


def test_pytorch_takes_what_a_state_dict_says_for_nothing(tmp_path: Path) -> None:
    source = small(ResNeXtClassifier, activation="SiLU")
    torch.save(source.state_dict(), tmp_path / "w.pth")
    state = torch.load(tmp_path / "w.pth", weights_only=True)
    assert list(state) == list(source.state_dict())
    found = drawn(ResNeXtClassifier, activation="SiLU").load_state_dict(state)
    assert not found.missing_keys
    assert not found.unexpected_keys


def test_of_two_trunks_each_says_its_own(tmp_path: Path) -> None:
    nets = {"student": small(), "teacher": small(activation="SiLU")}
    torch.save(nn.ModuleDict(nets).state_dict(), tmp_path / "w.pth")
    load_weights(drawn(), tmp_path / "w.pth", prefix="student")
    with pytest.raises(WeightsError, match=r"activation='SiLU', .*='ReLU'"):
        load_weights(drawn(), tmp_path / "w.pth", prefix="teacher")


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"blocks": [1000000000000]}', '{"a": 1}'])
def test_what_a_state_dict_says_must_be_an_architecture(text: str, tmp_path: Path) -> None:
    state = small().state_dict()
    state._metadata[""]["architecture"] = text
    torch.save(state, tmp_path / "w.pth")
    is_refused(drawn(), tmp_path / "w.pth", "w.pth: the architecture in the metadata: ")


def test_a_stem_that_strides_has_the_tensors_of_one_that_does_not(tmp_path: Path) -> None:
    small(stem="3x3/2").save_pretrained(tmp_path / "saved")
    convert(tmp_path / "saved", tmp_path / "file", "safetensors")
    is_refused(drawn(stem="3x3"), tmp_path / "file", "stem='3x3/2', .* stem='3x3'")
    is_refused(drawn(), tmp_path / "file", "1 of another shape: conv1.weight")
    load_weights(drawn(stem="3x3/2"), tmp_path / "file")


def test_where_no_stem_pools_poolings_are_one(tmp_path: Path) -> None:
    """But for that which stands in blocks too."""
    first, second, third = (
        small(stem="3x3", pooling=pooling) for pooling in ("max", "ceil", "average")
    )
    assert first.architecture == second.architecture != third.architecture
    torch.save(second.state_dict(), tmp_path / "w.pth")
    load_weights(first, tmp_path / "w.pth")
    is_refused(third, tmp_path / "w.pth", "pooling='max', .*'average'")


def test_timms_config_beside_a_file_says_it(tmp_path: Path, monkeypatch) -> None:
    """A folder as timm puts it on the Hub; its files have no hash in their names."""
    fields = {**SE, "stem": "deep", "shortcut": "pooled"}
    source = small(**fields, pooling="average")
    monkeypatch.setitem(VARIANTS, "seresnextaa", source.architecture)
    state = {FORMATS["timm"].from_own(k): v for k, v in source.state_dict().items()}
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"architecture": "seresnextaa", "num_classes": 3}')
    is_refused(drawn(**fields), tmp_path, "pooling='average', .*='max'")
    load_weights(drawn(**fields, pooling="average"), tmp_path)
    for other in ("[]", '{"architecture": "another"}', '{"architectures": ["ResNet"]}'):
        (tmp_path / "config.json").write_text(other)
        load_weights(drawn(**fields), tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config.json, beside it: "):
        load_weights(drawn(**fields), tmp_path)


def test_the_names_of_a_file_are_kept_as_what_they_say(tmp_path: Path) -> None:
    source = small(**SE, pooling="ceil")
    legacy = FORMATS["legacy"]
    torch.save({legacy.from_own(k): v for k, v in source.state_dict().items()}, tmp_path / "a")
    convert(tmp_path / "a", tmp_path / "b", "safetensors")
    is_refused(drawn(**SE), tmp_path / "b", "pooling='ceil', .*='max'")
    convert(tmp_path / "b", tmp_path / "c", "timm")
    first, again = (torch.load(tmp_path / name, weights_only=True) for name in "ac")
    assert first.keys() == again.keys()


def test_two_global_contexts_are_told_apart() -> None:
    """mmcv's layer norm has another eps than timm's, and other names."""
    block = pytest.importorskip("mmcv.cnn").ContextBlock
    plugin = Plugin(3, lambda channels: ("context_block", block(channels, 1 / 8)))
    theirs: dict[str, Any] = {"plugins": [[plugin]] * 4}
    ours = {"attention": "GC"}
    timm, mmcv = "GC, timm's .* 1e-6", "mmcv's ContextBlock, .* 1e-5"
    for trained, built, message in (
        (theirs, ours, f"trained with {mmcv}; the network has {timm}"),
        (ours, theirs, f"trained with {timm}; the network has {mmcv}"),
    ):
        is_refused(drawn(**built), small(**trained).state_dict(), message)
        load_state(drawn(**trained), small(**trained).state_dict(), "it")


@pytest.mark.parametrize("kind", ATTENTION)
@pytest.mark.parametrize("after", [2, 3])
def test_a_file_without_one_tensor_of_an_attention(kind: str, after: int) -> None:
    state = small(attention=kind, attention_after=after).state_dict()
    name = {2: "attn", 3: "se"}[after]
    last = next(key for key in reversed(state) if key.startswith(f"layer3.1.{name}."))
    if last.endswith("num_batches_tracked"):
        last = last.replace("num_batches_tracked", "running_mean")
    del state[last]
    is_refused(drawn(attention=kind, attention_after=after), state, f"1 missing: {re.escape(last)}")


@pytest.mark.parametrize("kind", PARTS)
def test_a_file_without_one_tensor_of_a_part(kind: str) -> None:
    source = small(**PARTS[kind])
    state = dict(source.state_dict())
    mark = ".conv_transition." if kind == "csp" else ".conv2."
    last = [k for k in state if mark in k and not k.endswith("num_batches_tracked")][-1]
    del state[last]
    is_refused(drawn(**PARTS[kind]), state, f"1 missing: {re.escape(last)}")
    is_refused(drawn(activation=source.architecture.activation), state, "missing: layer")
