"""The adapter against MMDetection's own backbones, in every config that MMDetection ships."""

from __future__ import annotations

import pytest

pytest.importorskip("mmdet", reason="MMDetection is not installed")

import resnext_backbones.adapters.openmmlab  # noqa: F401, I001  its operators come before mmdet's
from mmdet.utils import register_all_modules
from shipped import KINDS, backbones, model_of, shipped, takes_this_backbone


@pytest.fixture(autouse=True, scope="module")
def _mmdet_scope() -> None:
    register_all_modules()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("cascade_rcnn/cascade-mask-rcnn_x101-32x8d_fpn_ms-3x_coco.py", "ResNeXt"),
        (
            "gcnet/cascade-mask-rcnn_x101-32x4d-syncbn-dconv-c3-c5-r4-gcb-c3-c5_fpn_1x_coco.py",
            "ResNeXt",
        ),
        ("gn+ws/faster-rcnn_x50-32x4d_fpn_gn-ws-all_1x_coco.py", "ResNeXt"),
        ("solov2/solov2_x101-dcn_fpn_ms-3x_coco.py", "ResNeXt"),
        ("regnet/faster-rcnn_regnetx-400MF_fpn_ms-3x_coco.py", "RegNet"),
    ],
)
def test_a_shipped_config_takes_this_backbone(name: str, kind: str) -> None:
    """One of each norm and convolution, and with plugins; all of them are in the next test."""
    takes_this_backbone(model_of(name), kind)


@pytest.mark.whole
@pytest.mark.parametrize("kind", KINDS)
def test_every_shipped_config_takes_this_backbone(kind: str) -> None:
    using = {
        n: model for n, model in shipped().items() if any(True for _ in backbones(model, kind))
    }
    assert len(using) >= KINDS[kind]
    failed = {}
    for name, model in using.items():
        try:
            takes_this_backbone(model, kind)
        except Exception as error:  # all of them are reported, not the first
            failed[name] = f"{type(error).__name__}: {error}"
    assert not failed
