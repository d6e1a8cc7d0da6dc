"""What CUDA graphs can hold, and what they depend on; none of it needs a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from graphed import images, trunk
from torch import Tensor, nn

from resnext_backbones import ResNeXt
from resnext_backbones.compute import ways
from resnext_backbones.compute.capturable import state_of, surroundings
from resnext_backbones.compute.tables import Ways

UNFIT: dict[str, tuple[Callable[[ResNeXt], Any], str]] = {
    "hooks": (lambda n: n.layer1.register_forward_hook(print), "has hooks on a module: layer1"),
    "norms": (lambda n: n.bn1.train(), "norm_eval=True would keep from it: bn1"),
    "others": (lambda n: n.layer1.add_module("own", Own()), "which is not known: layer1.own"),
    "leaves": (lambda n: nn.utils.parametrize.register_parametrization(n.conv1, "weight", Own()),
               "which is not known: conv1"),
}  # fmt: skip


class Own(nn.Module):
    """A module of a user."""

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize("name", UNFIT)
def test_networks_that_do_more_than_their_kernels(name: str) -> None:
    network = trunk()
    assert state_of(network).unfit == ""
    change, reason = UNFIT[name]
    change(network)
    assert reason in state_of(network).unfit


def test_networks_that_are_unfit_as_a_whole() -> None:
    assert "computes blocks again" in state_of(trunk(recompute="block")).unfit
    replica = trunk()._replicate_for_data_parallel()
    assert "replica" in state_of(replica).unfit
    sharded: Any = trunk()
    sharded.__class__ = type("FSDPResNeXt", (type("FSDPModule", (), {}), ResNeXt), {})
    assert state_of(sharded).unfit == "is sharded"


def test_synchronised_norms_with_frozen_statistics_are_fit() -> None:
    build_norm_layer = pytest.importorskip("mmcv.cnn").build_norm_layer
    network = trunk()
    network.bn1 = build_norm_layer({"type": "SyncBN"}, 64)[1].eval()
    assert state_of(network).unfit == ""


def test_a_network_that_draws_at_random() -> None:
    assert "draws at random" in state_of(trunk(drop_path=0.5)).unfit
    assert state_of(trunk(drop_path=0.5).eval()).unfit == ""


def key(network: ResNeXt, given: Tensor) -> Any:
    return state_of(network).settings, surroundings(given)


CHANGES: dict[str, Callable[[ResNeXt], Any]] = {
    "mode": lambda n: n.layer1.eval(),
    "eps": lambda n: setattr(n.layer2[1].bn2, "eps", 1e-3),
    "stride": lambda n: setattr(n.layer2[0].conv2, "stride", (1, 1)),
    "gradient": lambda n: n.layer1[0].conv1.weight.requires_grad_(False),
    "memory": lambda n: setattr(n.conv1.weight, "data", n.conv1.weight.data.clone()),
    "buffer": lambda n: setattr(n.bn1, "running_var", n.bn1.running_var.clone()),
    "folding": lambda n: setattr(n, "fold_norm", False),
    "maps": lambda n: setattr(n, "out_indices", [0]),
    "activation": lambda n: setattr(n.layer1[0], "relu", nn.SiLU(inplace=True)),
    "method": lambda n: setattr(n.layer1[0].conv1, "_conv_forward", print),
    "branch": lambda n: n.layer1[0]._branch.reverse(),
    "order": lambda n: n.layer1[0].conv2.to(memory_format=torch.channels_last),
    "dimension": lambda n: setattr(n.layer1[0], "dim", -2),
    "ways": lambda _: ways.use("cpu", {LAYER: {1: Ways("product")}}),
}
LAYER = ways.Layer(
    "cpu", torch.float32, True, (8, 8, 1, 1), ways.Geometry((1, 1), (0, 0), (1, 1), 1)
)


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_graph_depends_on(name: str) -> None:
    network, given = trunk(), images(device="cpu")
    network.layer1[0].dim = -1  # whose hash is that of -2
    before = key(network, given)
    assert key(network, given.clone()) == before
    CHANGES[name](network)
    assert key(network, given) != before


def test_what_images_and_the_mode_decide() -> None:
    network, given = trunk(), images(device="cpu")
    keys = {key(network, x) for x in (given, images(96, 64, device="cpu"), given.double())}
    with torch.no_grad():
        keys.add(key(network, given))
    with torch.autocast("cpu", torch.bfloat16):
        keys.add(key(network, given))
    with torch.inference_mode():
        keys.add(key(network, given))
    assert len(keys) == 6


def test_settings_of_tf32_that_pytorch_refuses_to_read_beside_others() -> None:
    before = surroundings(given := images(device="cpu"))
    settings: Any = torch.backends.cuda.matmul
    was = settings.fp32_precision
    settings.fp32_precision = "tf32"
    try:
        assert surroundings(given) != before
    finally:
        settings.fp32_precision = was
    assert surroundings(given) == before
