"""Both modules of passes compute what the modules do: by PyTorch's operators, and by Triton's.

Without a GPU Triton's interpreter computes what its kernels say, which conftest.py asks for.
"""

from __future__ import annotations

import itertools
from types import ModuleType

import pytest
import torch
from helpers import EveryLayer, randomise, relative_error, small
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad

from resnext_backbones.compute import conv_norm, passes, ways
from resnext_backbones.compute.tables import Ways

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(params=["passes", "triton_passes"])
def chosen(request: pytest.FixtureRequest, monkeypatch) -> ModuleType:
    """The module that computes the passes, whatever the device."""
    if request.param == "triton_passes":
        pytest.importorskip("triton", reason="Triton is not installed")
    module = pytest.importorskip(f"resnext_backbones.compute.{request.param}")
    monkeypatch.setattr(conv_norm, "passes_for", lambda *_: module)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    return module


def chain(*, bias: bool = False) -> nn.Sequential:
    """As a block has it: 1x1, grouped 3x3 and 1x1; more channels than a tile."""
    channels, width = 8, 72
    convs = (
        nn.Conv2d(channels, width, 1, bias=bias),
        nn.Conv2d(width, width, 3, padding=1, groups=width // 4, bias=bias),
        nn.Conv2d(width, channels, 1, bias=bias),
    )
    pairs = [(conv, nn.BatchNorm2d(conv.out_channels).eval()) for conv in convs]
    modules = nn.Sequential(*itertools.chain(*pairs))
    return randomise(modules).to(DEVICE, memory_format=torch.channels_last)


def steps(modules: nn.Sequential, relu: nn.Module | None) -> list[conv_norm.Step]:
    inner = nn.ReLU(inplace=True)
    activations = [inner, inner, relu]
    return [conv_norm.Step(modules[2 * i], modules[2 * i + 1], activations[i]) for i in range(3)]


def plain(modules: nn.Sequential, x: torch.Tensor, relu: nn.Module | None) -> torch.Tensor:
    """The same by the modules, one after the other."""
    inner = nn.ReLU()
    out = inner(modules[1](modules[0](x)))
    out = modules[5](modules[4](inner(modules[3](modules[2](out))))) + x
    return out if relu is None else relu(out)


WAYS = {
    "plain": {},
    "products and merged groups": EveryLayer(lambda layer: Ways(*[layer.ways()[-1]] * 3)),
}


@pytest.mark.parametrize("table", WAYS)
@pytest.mark.parametrize("relu", [None, nn.ReLU(inplace=True), nn.SiLU(inplace=True)], ids=str)
@pytest.mark.usefixtures("chosen")
def test_outputs_and_every_gradient(relu: nn.Module | None, table: str) -> None:
    """Of weights in either memory format."""
    ways.use(DEVICE, WAYS[table])
    modules = chain(bias=table == "plain")
    if relu is not None:
        modules.to(memory_format=torch.contiguous_format)
    x = torch.randn(2, 8, 9, 11, device=DEVICE, requires_grad=True)
    leaves = [x, *modules.parameters()]
    own = conv_norm.conv_norms(x, steps(modules, relu), shortcut=x)
    expected = plain(modules, x, relu)
    assert relative_error(own, expected) <= 1e-6
    with torch.no_grad():
        assert (
            relative_error(conv_norm.conv_norms(x, steps(modules, relu), shortcut=x), expected)
            <= 1e-6
        )
    upstream = torch.randn_like(expected)
    theirs = upstream.clone()
    pairs = zip(
        torch.autograd.grad(own, leaves, upstream),
        torch.autograd.grad(expected, leaves, theirs),
        strict=True,
    )
    assert all(b.any() and relative_error(a, b) <= 1e-5 for a, b in pairs)
    assert torch.equal(upstream, theirs)  # others may have it too


TRAINED = ["0.weight", "1.weight", "2.weight", "3.bias", "4.weight", "5.weight", "x"]


@pytest.mark.parametrize(
    "trained", [*([name] for name in TRAINED), ["1.bias", "x"], TRAINED], ids=str
)
@pytest.mark.usefixtures("chosen")
def test_only_what_is_trained_gets_a_gradient(trained: list[str]) -> None:
    modules = chain()
    x = torch.randn(1, 8, 6, 6, device=DEVICE)
    named = {**dict(modules.named_parameters()), "x": x}
    for name, leaf in named.items():
        leaf.requires_grad_(name in trained)
    upstream = torch.randn(1, 8, 6, 6, device=DEVICE)
    conv_norm.conv_norms(x, steps(modules, nn.ReLU()), shortcut=x).backward(upstream)
    found = {name: leaf.grad for name, leaf in named.items()}
    for leaf in named.values():
        leaf.grad = None
    plain(modules, x, nn.ReLU()).backward(upstream)
    for name, leaf in named.items():
        assert (found[name] is None) == (leaf.grad is None) == (name not in trained), name
        assert leaf.grad is None or relative_error(found[name], leaf.grad) <= 1e-5, name


def test_what_is_no_number_stays_none(chosen: ModuleType) -> None:
    """ReLU by a maximum would make a 0 of it, and a run would go on."""
    modules = chain()
    x = torch.randn(1, 8, 5, 5, device=DEVICE)
    x[0, :, 2, 2] = torch.nan
    with torch.no_grad():
        found = conv_norm.conv_norms(x, steps(modules, nn.ReLU()))
    assert found[0, :, 2, 2].isnan().all()
    assert not found[0, :, 0, 0].isnan().any()
    y = torch.tensor([1.0, torch.nan, -1.0, 0.0], device=DEVICE).view(1, 4, 1, 1)
    weight, geometry = torch.eye(4, device=DEVICE)[:, :, None, None], ((1, 1), (0, 0), (1, 1), 1)
    grad = torch.ones_like(y)
    grad, *_ = chosen.backward(
        grad, y, y, weight, conv_norm.Geometry(*geometry), (False, True, True)
    )
    assert grad.flatten().tolist() == [1, 1, 0, 0]


def test_what_is_larger_than_a_part_is_summed_up(chosen: ModuleType, monkeypatch) -> None:
    """Programs sum up several tiles, a core several rows at a time; the last part is not full."""
    name, few = ("CACHED", 40) if chosen is passes else ("PROGRAMS", 4)
    monkeypatch.setattr(chosen, name, few)
    modules = chain()
    x = torch.randn(2, 8, 17, 19, device=DEVICE, requires_grad=True)
    leaves = [x, *modules.parameters()]
    pairs = zip(
        torch.autograd.grad(
            conv_norm.conv_norms(x, steps(modules, nn.ReLU()), shortcut=x).sum(), leaves
        ),
        torch.autograd.grad(plain(modules, x, nn.ReLU()).sum(), leaves),
        strict=True,
    )
    assert all(relative_error(a, b) <= 1e-5 for a, b in pairs)


def test_half_precision_rounds_once(chosen: ModuleType) -> None:
    folding = conv_norm.Folding.of(*steps(chain(), None)[1][:2])
    weight, bias = chosen.fold(folding, torch.float16)
    expected = passes.fold(folding, torch.float32)
    assert weight.dtype == torch.float16
    assert torch.equal(weight, expected[0].half())
    assert relative_error(bias.float(), expected[1]) <= 1e-3
    x = torch.randn(2, 72, 9, 11, device=DEVICE).half()
    x = x.contiguous(memory_format=torch.channels_last)
    geometry = conv_norm.Geometry((1, 1), (1, 1), (1, 1), 18)
    y = chosen.forward(x, weight, bias, geometry, x, True)
    exact = torch.nn.functional.conv2d(x.double(), weight.double(), bias.double(), *geometry)
    assert y.dtype == torch.float16
    assert relative_error(y.double(), (exact + x).relu()) <= 1e-3


def test_no_images(chosen: ModuleType) -> None:
    del chosen
    modules = chain()
    x = torch.randn(0, 8, 6, 6, device=DEVICE)
    y = conv_norm.conv_norms(x, steps(modules, nn.ReLU()), shortcut=x)
    assert y.shape == x.shape
    assert not any(g.any() for g in torch.autograd.grad(y.sum(), modules.parameters()))


@pytest.mark.parametrize("shape", [(2, 72, 1, 1), (2, 72, 9, 11), (2, 72, 5, 5)], ids=str)
@pytest.mark.usefixtures("chosen")
def test_a_shortcut_of_another_shape(shape: tuple[int, ...]) -> None:
    """It is broadcast as PyTorch does it, or refused."""
    x = torch.randn(2, 72, 9, 11, device=DEVICE).contiguous(memory_format=torch.channels_last)
    step = steps(chain(), None)[1]._replace(activation=None)
    shortcut = torch.randn(shape, device=DEVICE, requires_grad=True)
    if shape[-1] == 5:
        with pytest.raises(RuntimeError, match="size"):
            conv_norm.conv_norms(x, [step], shortcut=shortcut)
        return
    expected = step.norm(step.conv(x)) + shortcut
    found = conv_norm.conv_norms(x, [step], shortcut=shortcut)
    assert relative_error(found, expected) <= 1e-6
    (gradient,) = torch.autograd.grad(found.sum(), shortcut)
    assert gradient.shape == shape


RECOMPUTED, SMOOTH = {"recompute": True}, {"activation": "SiLU"}
TRITON = [  # which takes long where it is interpreted
    pytest.param("triton_passes", options, marks=() if len(options) > 1 else pytest.mark.whole)
    for options in (RECOMPUTED, SMOOTH, RECOMPUTED | SMOOTH)
]


@pytest.mark.parametrize(
    ("chosen", "options"),
    [("passes", RECOMPUTED), ("passes", SMOOTH), *TRITON],
    indirect=["chosen"],
    ids=str,
)
@pytest.mark.usefixtures("chosen")
def test_a_network_whose_convolutions_are_products(options: dict) -> None:
    """What is behind a block changes its output in place."""
    ways.use(DEVICE, WAYS["products and merged groups"])
    wide = {"base_channels": 32, "cardinality": 4, "base_width": 16, "blocks": (1, 2)}
    own, plain = (
        small(norm_eval=True, fold_norm=fold, **wide, **options).to(DEVICE)
        for fold in (True, False)
    )
    plain.load_state_dict(own.state_dict())
    images = torch.randn(1, 3, 32, 32, device=DEVICE)
    for model in (own, plain):
        sum(output.square().mean() for output in model(images)).backward()
    for a, b in zip(own.parameters(), plain.parameters(), strict=True):
        assert relative_error(a.grad, b.grad) <= 1e-3


def unreadable(step: conv_norm.Step) -> dict[str, torch.Tensor]:
    """Vectors that are not one value behind the other, or of another length or type."""
    n, device = len(step.norm.weight), step.norm.weight.device
    return {
        "with gaps": torch.rand(n, 2, device=device)[:, 0],
        "one value": torch.rand(1, device=device).expand(n),
        "too many": torch.rand(n + 8, device=device),
        "double": torch.rand(n, device=device).double(),
    }


@pytest.mark.parametrize("kind", unreadable(steps(chain(), None)[1]))
def test_vectors_that_kernels_cannot_read(kind: str) -> None:
    step = steps(chain(), None)[1]
    folding = conv_norm.Folding.of(step.conv, step.norm)
    device = folding.weight.device
    assert passes._can_be_read(folding, device)
    vector = unreadable(step)[kind]
    assert not passes._can_be_read(folding._replace(gamma=vector), device)


def test_tensors_that_have_no_memory() -> None:
    found = []
    torch.func.vmap(lambda x: found.append(passes._has_memory(x)) or x)(torch.ones(2, 3))
    with FakeTensorMode():
        found.append(passes._has_memory(torch.ones(2)))
    assert found == [False, False]
    assert passes._has_memory(torch.ones(2))


def test_who_computes_where(monkeypatch) -> None:
    """Nobody but PyTorch on a CPU; on a GPU Triton, for what its kernels read."""
    x = torch.randn(1, 8, 4, 4).contiguous(memory_format=torch.channels_last)
    step = conv_norm.Step(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8).eval())
    assert passes.passes_for(x, [conv_norm.Folding.of(step.conv, step.norm)]) is passes
    if DEVICE == "cuda" and passes.TRITON:
        from resnext_backbones.compute import triton_passes

        x, foldings = x.cuda(), [conv_norm.Folding.of(step.conv.cuda(), step.norm.cuda())]
        assert passes.passes_for(x, foldings) is triton_passes
        assert passes.passes_for(x.double(), foldings) is passes
        assert passes.passes_for(torch.randn(1, 8, 4, 5, device="cuda"), foldings) is passes
        with forward_ad.dual_level():
            assert passes.passes_for(x, foldings) is passes
        monkeypatch.setattr(passes, "TRITON", False)
        assert passes.passes_for(x, foldings) is passes
