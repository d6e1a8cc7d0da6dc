"""What is measured of a network, and that measuring changes nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import SMALL, EveryLayer
from torch import nn

from resnext_backbones import ResNeXt
from resnext_backbones.compute import tuned, tuning, ways
from resnext_backbones.compute.calls import PLAIN, PRODUCT, Layer
from resnext_backbones.compute.tables import NOT_MEASURED, UNKNOWN, Table, Ways

SHAPE = (1, 3, 64, 96)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ways, "_tables", {})
    monkeypatch.setattr(tuned, "folder", lambda: tmp_path / "ways")


def small(**options: object) -> ResNeXt:
    return ResNeXt(SMALL, **options).train()


@pytest.mark.parametrize("recompute", [False, "inner", "block", "pair"])
@pytest.mark.parametrize("norm_eval", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_passes_of_a_step_are_found(
    dtype: torch.dtype, norm_eval: bool, recompute: str | bool
) -> None:
    """As they are computed in a step of the real network."""
    trunk = small(frozen_stages=1, norm_eval=norm_eval, recompute=recompute)
    found = tuning.layers_of(trunk, SHAPE, dtype)
    with ways.recorded() as seen, torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        outputs = [y for y in trunk(torch.randn(SHAPE)) if y.requires_grad]
        torch.autograd.backward(outputs, [torch.ones_like(each) for each in outputs])
    assert found == {at: passes for at, passes in seen.items() if len(at[0].ways()) > 1}
    frozen = [passes for (each, _), passes in found.items() if passes == {"forward"}]
    assert frozen
    assert len(frozen) < len(found)


def test_a_network_that_is_not_trained_has_forward_passes_alone() -> None:
    found = tuning.layers_of(small().eval(), SHAPE, torch.float32)
    assert set().union(*found.values()) == {"forward"}


def test_measuring_changes_nothing_but_the_table() -> None:
    trunk = small(norm_eval=False)
    before = {name: tensor.clone() for name, tensor in trunk.state_dict().items()}
    training = [module.training for module in trunk.modules()]
    state = torch.get_rng_state()
    chosen = tuning.tune(trunk, SHAPE, dtype=torch.float32, seconds=2)
    assert chosen
    assert all(torch.equal(tensor, before[name]) for name, tensor in trunk.state_dict().items())
    assert [module.training for module in trunk.modules()] == training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in trunk.parameters())
    assert ways.table("cpu").items() >= chosen.items()


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Layer]:
    """Layers, each when it is measured: the last of its ways is the fastest of what is computed."""
    layers: list[Layer] = []

    def fastest(layer: Layer, shape: torch.Size, passes: set[str], *_: object) -> tuning.Measured:
        layers.append(layer)
        chosen = NOT_MEASURED._replace(**dict.fromkeys(passes, layer.ways()[-1]))
        return tuning.Measured(layer, tuning._pixels(shape), chosen, {})

    monkeypatch.setattr(tuning, "_fastest", fastest)
    return layers


def test_what_is_known_is_not_measured_again(measured: list[Layer]) -> None:
    """By another process neither, nor for images of a similar size."""
    trunk = small()
    chosen = tuning.tune(trunk, SHAPE, dtype=torch.float32)
    count = len(measured)
    assert count == len(tuning.layers_of(trunk, SHAPE, torch.float32))
    ways._tables.clear()
    assert tuning.tune(trunk, SHAPE, dtype=torch.float32) == chosen
    tuning.tune(trunk, (1, 3, 64, 128), dtype=torch.float32)
    assert len(measured) == count
    tuning.tune(trunk, (2, 3, 128, 128), dtype=torch.float32)
    assert len(measured) == 2 * count
    tuning.tune(trunk, SHAPE, dtype=torch.float32, again=True)
    assert len(measured) == 3 * count


def test_a_pass_that_was_not_computed_is_measured_once_it_is(measured: list[Layer]) -> None:
    """And what is known of a pass stays, where a step that does not compute it is measured anew."""
    trunk = small()
    tuning.tune(trunk.eval(), SHAPE, dtype=torch.float32)
    first, known = len(measured), tuning.tune(trunk.train(), SHAPE, dtype=torch.float32)
    assert len(measured) == 2 * first
    assert not any(UNKNOWN in each for rows in known.values() for each in rows.values())
    tuning.tune(trunk.eval(), SHAPE, dtype=torch.float32, again=True)
    assert tuned.read("cpu") == known


@pytest.mark.parametrize("way", [UNKNOWN, PLAIN])
def test_a_pass_that_was_not_measured_is_plain(way: str) -> None:
    trunk, images = small(norm_eval=True), torch.randn(SHAPE)
    expected = [y.detach() for y in trunk(images)]
    ways.use("cpu", EveryLayer(lambda _: Ways(way, way, way)))
    own = trunk(images)
    assert all(map(torch.equal, own, expected))
    torch.autograd.backward([y.sum() for y in own])


def test_the_faster_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """It must be faster by more than a little, and not now and then."""
    cpu = torch.device("cpu")
    now_and_then = iter([1.0, 0.5, 1.0, 0.5, 1.0, 0.5, 1.0, 1.5, 1.0, 1.5])
    monkeypatch.setattr(tuning, "_seconds", lambda *_: next(now_and_then))
    both = [PLAIN, PRODUCT]
    assert tuning._best(lambda _: None, both, cpu, 60)[0] == PLAIN
    for taken, expected in ((0.5, PRODUCT), (0.99, PLAIN), (2.0, PLAIN)):
        seconds = iter([1.0, taken] * 9)
        monkeypatch.setattr(tuning, "_seconds", lambda *_: next(seconds))  # noqa: B023
        assert tuning._best(lambda _: None, both, cpu, 60)[0] == expected
    assert tuning._best(lambda _: None, both, cpu, -1)[0] == UNKNOWN


def test_no_time_is_no_choice() -> None:
    work = tuning.layers_of(small(), SHAPE, torch.float32)
    assert tuning.measure(work, torch.device("cpu"), seconds=0) == {}


def test_another_operator_between_is_not_in_the_way() -> None:
    trunk = small()
    trunk.layer4[0].conv2 = nn.Conv2d(
        trunk.layer4[0].conv2.in_channels, trunk.layer4[0].conv2.out_channels, 3, 2, 1
    )
    assert tuning.layers_of(trunk, SHAPE, torch.float32)


LAST = EveryLayer(lambda layer: Ways(*[layer.ways()[-1]] * 3))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("table", [{}, LAST], ids=["plain", "products and merged groups"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_gradients_lie_in_memory_as_their_parameters(
    dtype: torch.dtype, table: Table, layout: torch.memory_format
) -> None:
    """DDP copies them otherwise, at each step."""
    ways.use("cpu", table)
    trunk = small(frozen_stages=1, norm_eval=True).to(memory_format=layout)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        outputs = [y.sum() for y in trunk(torch.randn(SHAPE)) if y.requires_grad]
    torch.autograd.backward(outputs)
    found = [(p.stride(), p.grad.stride()) for p in trunk.parameters() if p.grad is not None]
    assert len(found) > 20
    assert all(own == of_gradient for own, of_gradient in found)
