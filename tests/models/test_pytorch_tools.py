"""What PyTorch's own tools do with a ResNet of torchvision, they do with this network.

Each row of `TOOLS` runs with both, on the same weights; docs/pytorch_tools.md lists the rows.
"""

from __future__ import annotations

import copy
import functools
from pathlib import Path

import pytest
import torch
import torchvision
from helpers import randomise
from pytorch_tools import TOOLS
from pytorch_tools.table import silu, tiny
from torch import Tensor, nn

from resnext_backbones import build_classifier

TINY = {"tiny": tiny, "SiLU and attention": silu}


@functools.cache
def pair(name: str) -> tuple[nn.Module, nn.Module]:
    if name in TINY:
        own, peer = TINY[name]()
    else:
        own, peer = build_classifier(name), getattr(torchvision.models, name)()
    peer.load_state_dict(randomise(own).state_dict())
    return own.double().eval(), peer.double().eval()


LOOSE = {"prepare_fx and convert_fx": 0.1, "autocast": 0.05, "quantize_dynamic": 1e-3}
"""How far those are apart that round to few bits, and two orders of the same sums with them."""

SLOW = {
    "torch.compile",
    "torch.compile, hooks of all modules",
    "torch.compile of vmap of grad",
    "torch.func.jacrev",
    "make_fx",
    "torch.autograd.functional.hvp",
    "torch.func.hessian",
    "torch.jit.script",
    "torch.jit.freeze",
    "torch.fx.experimental.optimization.fuse",
    "LBFGS",
    "AveragedModel and update_bn",
}
"""Others like them are quick."""

LARGE = (
    "torch.fx.symbolic_trace",
    "torch.jit.script",
    "torch.export",
    "torch.func.grad",
    "torch.func.jvp",
    "second derivatives",
    "hooks",
    "pruning",
    "prepare_fx and convert_fx",
    "parameters_to_vector",
)
"""Those that one network of torchvision's own size goes through."""

KEEPING = {
    "second derivatives",
    "torch.autograd.grad, batched",
    "torch.autograd.graph.save_on_cpu",
    "torch.func.grad",
    "torch.utils.checkpoint",
    "apply_activation_checkpointing",
    "DistributedDataParallel, static_graph",
    "FSDP2's fully_shard",
    "hooks",
}
"""Those that see what is kept, or compute it again."""

ASSIGNED = "load_state_dict(assign=True) on meta"  # builds the tiny one by itself


@pytest.mark.parametrize(
    ("name", "network"),
    [
        *(pytest.param(n, "tiny", marks=[pytest.mark.whole] if n in SLOW else []) for n in TOOLS),
        *(
            pytest.param(n, "SiLU and attention", marks=[] if n in KEEPING else pytest.mark.whole)
            for n in TOOLS
            if n != ASSIGNED
        ),
        *(pytest.param(n, "resnext50_32x4d", marks=pytest.mark.whole) for n in LARGE),
    ],
)
def test_a_tool(name: str, network: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    own, peer = (TOOLS[name](copy.deepcopy(kind), images) for kind in pair(network))
    own, peer = ([v] if isinstance(v, Tensor) else v for v in (own, peer))
    if not isinstance(own, list | tuple):
        assert own == peer
        return
    assert len(own) == len(peer) > 0
    for a, b in zip(own, peer, strict=True):
        if isinstance(b, Tensor):
            assert a.shape == b.shape
            difference = (a - b).abs().max() if b.is_floating_point() else (a != b).sum()
            assert difference <= LOOSE.get(name, 1e-6) * b.abs().max()
        else:
            assert a == b


def test_the_document_lists_them() -> None:
    document = Path(__file__).parents[2] / "docs/pytorch_tools.md"
    text = document.read_text(encoding="utf-8")
    assert not [name for name in TOOLS if f"`{name}`" not in text]
