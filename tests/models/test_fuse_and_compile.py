"""The trunk for inference and for compilers: `fuse()`, `torch.compile` and `torch.export`."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from helpers import PARTS, gradients, quick, randomise, relative_error, small
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torchvision.ops import FrozenBatchNorm2d

from resnext_backbones import Architecture, ResNeXt


@pytest.mark.parametrize(
    "options", [{}, {"stem": "deep", "shortcut": "pooled"}, {"norm": "FrozenBN"}, *PARTS.values()]
)
def test_a_fused_copy_has_no_norm_and_the_same_outputs(options: dict) -> None:
    model = small(**options).train()
    fused = model.fuse()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for a, b in zip(fused(images), copy.deepcopy(model).eval()(images), strict=True):
            assert relative_error(a, b) <= 1e-5
    kinds = {type(m) for m in fused.modules()}
    assert not kinds & {nn.BatchNorm2d, FrozenBatchNorm2d}
    assert not fused.training
    assert model.training
    assert fused.train() is fused


def test_what_cannot_be_fused_is_named() -> None:
    with pytest.raises(ValueError, match=re.escape("conv1, gn1: Conv2d and GroupNorm cannot")):
        small(base_channels=32, cardinality=8, norm="GN").fuse()


@pytest.mark.parametrize(
    ("training", "kind"),
    [(False, ""), (True, ""), *(pytest.param(True, k, marks=pytest.mark.whole) for k in PARTS)],
)
def test_compiles_as_one_graph_for_all_sizes(training: bool, kind: str) -> None:
    torch._dynamo.reset()
    architecture = Architecture(blocks=(1, 1, 1, 1), **PARTS.get(kind, {}))
    model = randomise(ResNeXt(architecture, norm_eval=True, frozen_stages=1)).train(training)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(model, backend=counter, fullgraph=True, dynamic=True)
    # Multiples of 32, as detectors pad them, and not tiny: PyTorch's max pooling sets a guard on
    # whether sizes are odd, and its convolutions one on 20480 elements.
    sizes = [(160, 192), (192, 160), (192, 224), (256, 256), (160, 448), (320, 192)]
    for number, (height, width) in enumerate(sizes):
        images = torch.randn(1, 3, height, width)
        with torch.set_grad_enabled(training):
            outputs = compiled(images)
        for a, b in zip(outputs, model(images), strict=True):
            assert relative_error(a, b) <= 1e-5
        if training:
            sum(output.sum() for output in outputs).backward()
        if number == 1:
            warm = counter.frame_count
    assert counter.frame_count == warm
    if training:
        model.double().zero_grad()
        images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
        expected = gradients(model, images)
        for name, gradient in gradients(compiled, images).items():
            assert relative_error(gradient, expected[name.removeprefix("_orig_mod.")]) <= 1e-11


@pytest.mark.parametrize("kind", quick(["", *PARTS], ["", "SK"]))
@pytest.mark.parametrize("fuse", [False, True])
def test_exports(fuse: bool, kind: str) -> None:
    model = small(**PARTS.get(kind, {})).eval()
    model = model.fuse() if fuse else model
    height, width = (32 * torch.export.Dim(name, min=2, max=64) for name in ("height", "width"))
    program = torch.export.export(
        model, (torch.randn(1, 3, 96, 128),), dynamic_shapes=({2: height, 3: width},)
    )
    images = torch.randn(1, 3, 160, 224)
    for a, b in zip(program.module()(images), model(images), strict=True):
        assert relative_error(a, b) <= 1e-5


def test_a_network_that_captures_is_one_graph_too() -> None:
    """Where a compiler or an exporter is at work, nothing is captured."""
    torch._dynamo.reset()
    model, images = small(cuda_graphs=True).eval(), torch.randn(1, 3, 64, 64)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    program = torch.export.export(model, (images,), strict=True)
    for maps in (compiled(images), program.module()(images)):
        for a, b in zip(maps, model(images), strict=True):
            assert relative_error(a, b) <= 1e-5


def test_an_onnx_file_holds_folded_constants(tmp_path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    path = tmp_path / "trunk.onnx"
    torch.onnx.export(small().eval(), (torch.randn(1, 3, 64, 64),), path, dynamo=True)
    graph = onnx.load(path).graph
    constants = {tensor.name for tensor in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert convolutions
    assert all(node.input[1] in constants for node in convolutions)
    assert {node.op_type for node in graph.node} == {"Conv", "Relu", "Add", "MaxPool"}
