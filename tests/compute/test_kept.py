"""As much is kept as with ReLU and without attention, and nothing for longer."""

from __future__ import annotations

import io
import weakref
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from helpers import small
from kept_networks import BEHIND_2, NETWORKS, SILU, images, network
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from benchmarks.memory import kept_bytes
from resnext_backbones.compute import kept
from resnext_backbones.models.parts.attention import ATTENTION


@pytest.mark.parametrize(
    ("options", "most"),
    [({"norm_eval": True, "frozen_stages": 1}, 1.005), ({"norm_eval": False}, 1.005)],
    ids=str,
)
def test_silu_and_attention_keep_what_relu_keeps(options: dict, most: float) -> None:
    """As the networks of timm's that have them: two blocks a stage, attention behind the 3x3."""
    x = torch.randn(1, 3, 192, 256)
    shape = {
        "blocks": (2, 2, 2, 2),
        "cardinality": 2,
        "base_width": 32,
        "stage_groups": (2, 4, 8, 16),
    }
    common = {"base_channels": 64, "stem": "tiered", **BEHIND_2, **shape, **options}

    def size(**options: Any) -> int:
        model = small(**common, **options)
        return kept_bytes(model, lambda: model(x))

    relu, silu = size(), size(activation="SiLU")
    assert silu <= most * relu
    for kind in ATTENTION:
        assert size(attention=kind, activation="SiLU") <= most * silu, kind
    assert size(attention="GC") <= most * relu


@pytest.mark.parametrize(
    ("blocks", "kinds", "most"), [((3, 4, 6, 3), ATTENTION, 1.25), ((3, 4, 23, 3), ["SE"], 1.35)]
)
def test_attention_behind_the_third_convolution_keeps_less_than_its_inputs(
    blocks: tuple[int, ...], kinds: Iterable[str], most: float
) -> None:
    """Those of the first two stages are computed again."""
    x, options = torch.randn(1, 3, 128, 128), {"norm_eval": True, "frozen_stages": 1}
    shape = {"blocks": blocks, "cardinality": 32, "base_channels": 64}
    plain, *found = (
        kept_bytes(model, lambda model=model: model(x))
        for model in (small(**shape, **options, attention=kind) for kind in ("", *kinds))
    )
    assert max(found) <= most * plain


@pytest.mark.parametrize("mode", ["inner", "block", "pair"])
@pytest.mark.parametrize("attention", ["", "SE"])
def test_recompute_keeps_as_little(mode: str, attention: str) -> None:
    x = torch.randn(1, 3, 192, 256)
    options = {"norm_eval": True, "frozen_stages": 1, "blocks": (2, 2, 4, 2)}
    sizes = [
        kept_bytes(model, lambda model=model: model(x))
        for model in (
            small(recompute=mode, **options),
            small(recompute=mode, activation="SiLU", attention=attention, **BEHIND_2, **options),
        )
    ]
    assert sizes[1] <= 1.05 * sizes[0]


@pytest.mark.parametrize("name", ["GC and ReLU", "SiLU, norms trained", "BAT"])
@pytest.mark.parametrize("backward", [True, False])
def test_nothing_stays(name: str, backward: bool) -> None:
    model = network(**NETWORKS[name])
    made: list[weakref.ref] = []
    for block in model.blocks():
        block.register_forward_hook(lambda _, __, y: made.append(weakref.ref(y)))
    loss = sum(output.sum() for output in model(images()))
    loss.backward() if backward else None
    del loss
    assert len(made) == 5
    assert not any(ref() is not None for ref in made)
    assert len(kept._recipes) == 0


def test_outputs_inside_go_with_the_next_block() -> None:
    model = network(**SILU, **BEHIND_2, attention="SE")
    inside: list[weakref.ref] = []
    for block in model.blocks():
        block.register_forward_hook(lambda _, __, y: inside.append(weakref.ref(y)))
    outputs = model(images())
    assert [ref() is None for ref in inside] == [False, False, True, False, False]
    assert len(kept._recipes) == 4
    del outputs
    assert len(kept._recipes) == 0


def test_who_records_what_is_saved_can_go() -> None:
    """Hooks that hold what they were given are not held in turn."""

    def run() -> weakref.ref:
        saved: list[Tensor] = []

        def pack(tensor: Tensor) -> int:
            saved.append(tensor)
            return len(saved) - 1

        with saved_tensors_hooks(pack, lambda number: saved[number]):
            outputs = network(**SILU)(images())
            loss = sum(output.square().sum() for output in outputs)
        assert any(tensor is outputs[0] for tensor in saved)
        loss.backward()
        return weakref.ref(outputs[0])

    assert run()() is None


def test_outputs_are_stored_as_any_tensor() -> None:
    stored = io.BytesIO()
    outputs = small(**SILU)(torch.randn(1, 3, 64, 64))
    torch.save(outputs, stored)
    size = sum(output.nbytes for output in outputs)
    assert stored.tell() <= size + 10_000
    stored.seek(0)
    assert all(map(torch.equal, torch.load(stored, weights_only=True), outputs))
