"""The documents' Python: executed, a page's blocks one behind the other, and configs built."""

from __future__ import annotations

import importlib.util
import io
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from documents import PAGES, Block, blocks
from helpers import quick

from resnext_backbones import build_classifier
from resnext_backbones.variants import VARIANTS
from resnext_backbones.weights.download import path_of
from resnext_backbones.weights.registry import REGISTRY
from resnext_backbones.weights.write import write_state

ALIASES = (
    "open-mmlab/resnext101_32x4d",
    "torchvision/resnext101_64x4d.v1",
    "torchvision/resnext50_32x4d.v2",
)
"""The pages load these."""

STOCK_R50 = '_base_ = "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"\n'
STOCK_X101 = '_base_ = "mmdet::dcn/faster-rcnn_x101-32x4d-dconv-c3-c5_fpn_1x_coco.py"\n'
PRETRAINED = "from resnext_backbones.tasks.mmdetection.config import pretrained\n"
HOOKS = 'custom_imports = dict(imports=["resnext_backbones.tasks.mmdetection.hooks"])\n'

CONFIGS = {
    # A text in the block: what is inherited where it says nothing.
    "dconv-c3-c5": "",
    "mmdet::gfl": "",
    "mask-rcnn_x101-32x4d_fpn_1x_coco.py": "",
    "auto_scale_lr = ": STOCK_X101,
    "CheckWeightsHook": STOCK_X101 + HOOKS,
    "caffe2/X-101-64x4d": STOCK_R50,
    "# configs/bicycles.py": "",
    "ShardedImages": "",
}

FOUND = """
import json
from pathlib import Path
Path("found").mkdir()
images = [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 64}]
categories = [{"id": 1, "name": "person"}]
Path("found/images.json").write_text(json.dumps({"images": images, "categories": categories}))
one = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.9}
Path("found/predictions.json").write_text(json.dumps([one]))
"""
"""What `resnext predict` writes."""

CONVERTED = """
import torch
from torchvision.models.detection import MaskRCNN
from resnext_backbones.adapters.torchvision import resnext_fpn
from resnext_backbones.adapters.torchvision_detectors import aligned_options
trunk = resnext_fpn("resnext101_32x4d", trainable_layers=5)
model = MaskRCNN(trunk, num_classes=91, **aligned_options(masks=True))
torch.save(model.state_dict(), "model.pth")
"""
"""What `resnext convert --detector --to torchvision` writes."""

BEFORE = {
    # A text in the block: what its reader has at hand.
    "c2, c3, c4, c5 = features(images)": "import torch\nimages = torch.randn(1, 3, 64, 64)",
    "= build_classifier(": "from resnext_backbones import build_classifier, load_weights",
    "x101_32x4d = pretrained": PRETRAINED,
    "mask_rcnn_X_101_32x8d_FPN_3x.yaml": "from detectron2.config.defaults import _C\n"
    "_C.MODEL.DEVICE = 'cpu'",
    'COCO("found/images.json")': FOUND,
    "model.pth": CONVERTED,
}

AFTER = {
    # A text in the block: what the page says of it.
    "detector = Detector(": "assert [tuple(m.shape) for m in detector(torch.randn(1, 3, 64, 96))] "
    "== [(1, 84, 8, 12), (1, 84, 4, 6), (1, 84, 2, 3)]",
    "init_cfg = dict(": "import resnext_backbones.adapters.openmmlab as adapter\n"
    "adapter.ResNeXt(variant='resnext101_64x4d', init_cfg=init_cfg).init_weights()",
}

NEEDED = {"docs/detectron2.md": "detectron2"}


def config_of(block: Block) -> str | None:
    """What a config inherits besides; None for a program."""
    return next((base for text, base in CONFIGS.items() if text in block.text), None)


def python(page: str) -> list[Block]:
    return [block for block in blocks() if block.page == page and block.language == "python"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with the files that the pages name, where every network has one block a stage."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    for name, row in VARIANTS.items():
        monkeypatch.setitem(VARIANTS, name, replace(row, blocks=(1,) * len(row.blocks)))
    return tmp_path


def write_files() -> None:
    for alias in ALIASES:
        path = path_of(REGISTRY[alias].file)
        path.parent.mkdir(parents=True, exist_ok=True)
        state = build_classifier(REGISTRY[alias].variant).state_dict()
        torch.save(state, path)
        if alias == "torchvision/resnext101_64x4d.v1":
            parts = {
                part: {f"backbone.{key}": value + n for key, value in state.items()}
                for n, part in enumerate(("student", "teacher"))
            }
            torch.save(parts, "dino.pth")
        if "50" in alias:
            facts = {"variant": "resnext50_32x4d"}
            write_state(state, Path("resnext50_32x4d-0a1b2c3d.safetensors"), "safetensors", facts)


WITH_PYTHON = [page for page in PAGES if any(config_of(block) is None for block in python(page))]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("page", quick(WITH_PYTHON, ["README.md", "docs/custom_detector.md"]))
def test_the_programs_run(page: str) -> None:
    if (package := NEEDED.get(page)) and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    write_files()
    scope: dict = {}
    for block in python(page):
        if config_of(block) is not None:
            continue
        before, after = (
            next((code for text, code in table.items() if text in block.text), "")
            for table in (BEFORE, AFTER)
        )
        with redirect_stdout(io.StringIO()) as said:
            exec(before, scope)
            exec(compile(block.text, block.place, "exec"), scope)
            exec(after, scope)
        for line in block.text.splitlines():
            if line.startswith("print(") and "  # " in line:
                assert line.partition("  # ")[2] in said.getvalue()


@pytest.mark.whole
@pytest.mark.parametrize("place", [b.place for b in blocks() if config_of(b) is not None])
def test_the_configs_are_read_and_built(place: str, small: Path, monkeypatch) -> None:
    pytest.importorskip("mmdet", reason="MMDetection is not installed")
    from resnext_backbones.engine.checks.network import build_on_meta
    from resnext_backbones.engine.config import read_config
    from resnext_backbones.tasks.mmdetection.config import load_config

    monkeypatch.setenv("COCO_ROOT", "/data/coco")
    (block,) = [each for each in blocks() if each.place == place]
    root = Path(__file__).parents[1] / "configs"
    text = config_of(block) + block.text.replace('_base_ = "./', f'_base_ = "{root}/')
    text = text.replace('_base_ = "imagenet', f'_base_ = "{root}/imagenet')
    (small / "shown.py").write_text(text)
    if "ShardedImages" in text:
        cfg = read_config("shown.py")
        assert [t["type"] for t in cfg.train_dataloader.dataset.pipeline][-1].endswith(
            "PILToTensor"
        )
        return
    cfg = load_config("shown.py")
    model = build_on_meta(cfg)
    if "bicycles" in text:
        assert model.roi_head.bbox_head.num_classes == 2
    if "auto_scale_lr" in block.text:
        assert cfg.train_dataloader.dataset.data_root == "/data/coco"
        assert cfg.test_evaluator.ann_file == "/data/coco/annotations/instances_val2017.json"
        assert cfg.auto_scale_lr.enable
    if "resnext_backbones" in block.text and "CheckWeights" not in text:
        assert type(model.backbone).__module__.startswith("resnext_backbones")


def test_every_table_is_needed() -> None:
    found = [block.text for page in PAGES for block in python(page)]
    for text in (*BEFORE, *AFTER):
        assert any(text in each for each in found), text
