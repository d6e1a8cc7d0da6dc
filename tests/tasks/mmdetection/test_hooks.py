"""Detectors of MMDetection under autocast to bfloat16, which mmcv's operators do not know."""

from __future__ import annotations

import pytest
import torch
from helpers import quick

pytest.importorskip("mmdet", reason="MMDetection is not installed")

from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from torch import Tensor, nn

from benchmarks.mask_rcnn import _sample
from resnext_backbones.engine.optim import Bfloat16OptimWrapper
from resnext_backbones.tasks.mmdetection.config import load_config
from resnext_backbones.tasks.mmdetection.hooks import MMCV_OPERATORS, Bfloat16Hook, keep_boxes_exact

SIZE = (96, 160)
SMALL = [
    "model.backbone.variant=None", "model.backbone.depth=(1,1,1,1)", "model.backbone.groups=8",
    "model.backbone.init_cfg=None",
]  # fmt: skip
DEFORMABLE = [
    "model.backbone.dcn.type=DCNv2", "model.backbone.dcn.deform_groups=1",
    "model.backbone.stage_with_dcn=(False,True,True,True)",
]  # fmt: skip
FEW_BOXES = ["model.train_cfg.rpn_proposal.max_per_img=100"]
MASK, CASCADE, RETINA = (
    f"{name}_fpn_coco"
    for name in ("mask_rcnn_x50_32x4d", "cascade_mask_rcnn_x101_32x4d", "retinanet_x101_32x4d")
)
CASES = {MASK: FEW_BOXES, CASCADE: [*FEW_BOXES, *DEFORMABLE], RETINA: []}


def detector(name: str) -> nn.Module:
    register_all_modules()
    torch.manual_seed(0)
    model = MODELS.build(load_config(name, [*SMALL, *CASES[name]]).model)
    model.init_weights()
    return model.train()


def loss(model: nn.Module, *, half: bool) -> tuple[Tensor, dict[str, Tensor]]:
    images = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        losses = model.loss(images, [_sample(torch.Size(SIZE), torch.device("cpu"))])
    return model.parse_losses(losses)


@pytest.mark.parametrize("name", quick(CASES, [CASCADE, RETINA]))
def test_the_loss_is_that_of_single_precision_but_for_rounding(name: str) -> None:
    model = detector(name)
    expected = loss(model, half=False)[0]
    keep_boxes_exact(model)
    assert torch.equal(loss(model, half=False)[0], expected)
    given: list[tuple[nn.Module, tuple]] = []
    for module in model.modules():
        operator = type(module).__module__.startswith(MMCV_OPERATORS)
        if isinstance(module, BaseDenseHead | BBoxHead) or operator:
            module.register_forward_hook(lambda m, ins, out: given.append((m, (ins, out))))
    total, _ = loss(model, half=True)
    assert total.item() == pytest.approx(expected.item(), rel=0.01)
    assert given
    for module, (_, outputs) in given:
        assert outputs_of(outputs) == {torch.float32}, type(module).__name__
    boxes = [ins[1] for module, (ins, _) in given if type(module).__name__ == "RoIAlign"]
    assert bool(boxes) == ("rcnn" in name)
    if boxes:
        every = torch.cat(boxes)
        assert (every != every.bfloat16().float()).float().mean() > 0.3, "they were rounded"
    total.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def outputs_of(value: object) -> set[torch.dtype]:
    """The types of the tensors in it."""
    if isinstance(value, Tensor):
        return {value.dtype}
    return set().union(*map(outputs_of, value)) if isinstance(value, tuple | list) else set()


@pytest.mark.parametrize("half", [False, True])
def test_only_training_in_bfloat16_is_prepared(half: bool) -> None:
    class Runner:
        model = detector(RETINA)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        optim_wrapper = Bfloat16OptimWrapper(optimizer=optimizer) if half else None

    Bfloat16Hook().before_train(Runner)
    assert bool(Runner.model.bbox_head._forward_hooks) == half
