"""A checkpoint goes on, and is evaluated, with what its run gave the backbone."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("mmdet", reason="MMDetection is not installed")

from mmengine.config import Config

from resnext_backbones.engine.written import read_section, unlike_its_run
from resnext_backbones.tasks.mmdetection.config import given, load_config, use_weights

NAMES = ["mask_rcnn_x101_32x8d_fpn_coco", "retinanet_x101_64x4d_fpn_ms_3x_coco", "demo_shapes"]


def unlike(cfg: Config, meta: dict, *, to_resume: bool) -> list[str]:
    return list(unlike_its_run(cfg.model, "x.pth", meta, given, to_resume=to_resume))


@pytest.mark.parametrize("name", NAMES)
def test_what_mmengine_writes_is_read(name: str) -> None:
    cfg = load_config(name)
    written = Config({"model": read_section(cfg.pretty_text, "model")})
    assert written.model.backbone == cfg.model.backbone
    for key, value in cfg.model.data_preprocessor.items():
        assert written.model.data_preprocessor[key] == value
    assert not list(unlike(cfg, {"cfg": cfg.pretty_text}, to_resume=True))


@pytest.mark.parametrize(
    "text", [None, 5, "", "model = dict(", "other = 1", "model = dict(a=open('ran', 'w'))"]
)
def test_what_is_no_such_text_says_nothing_and_is_not_run(
    text: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_section(text, "model") is None
    assert not list(unlike(load_config(NAMES[0]), {"cfg": text}, to_resume=True))
    assert not list(tmp_path.iterdir())


def test_what_weights_changed_is_missed() -> None:
    cfg, plain = load_config(NAMES[0]), load_config(NAMES[0])
    use_weights(cfg, "torchvision/resnext101_32x8d.v2")
    (problem,) = unlike_its_run(
        plain.model, "x.pth", {"cfg": cfg.pretty_text}, given, to_resume=False
    )
    assert "checkpoint x.pth: its run had pixels RGB, mean (123.675, " in problem
    assert "the config has BGR, mean (103.53, " in problem
    assert "; take the config that it wrote" in problem
    cfg = load_config(NAMES[0])
    use_weights(cfg, "none")
    meta = {"cfg": cfg.pretty_text}
    assert not unlike(plain, meta, to_resume=False)
    frozen, norms = unlike(plain, meta, to_resume=True)
    assert "had frozen_stages -1, and the config has 1" in frozen
    assert "had norm_eval False, and the config has True" in norms
    assert "give the options that it began with, such as --weights, or take" in norms
