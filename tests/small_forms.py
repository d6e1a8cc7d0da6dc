"""The documents' command lines in a small form: what stands behind each, and what it leaves."""

from __future__ import annotations

import shlex
from typing import NamedTuple

LOADERS = (
    "train_dataloader.batch_size=2",
    *(
        f"{split}_dataloader.{setting}"
        for split in ("train", "val")
        for setting in ("num_workers=0", "persistent_workers=False")
    ),
    "train_cfg.max_epochs=1",
    "default_hooks.logger.interval=1",
)
SMALL = "(96,96)"
MMDETECTION = (
    *LOADERS,
    f"train_dataloader.dataset.pipeline.2.scale={SMALL}",
    f"val_dataloader.dataset.pipeline.1.scale={SMALL}",
    "model.train_cfg.rpn_proposal.max_per_img=100",
    "model.train_cfg.rcnn.sampler.num=64",
    "model.test_cfg.rpn.max_per_img=100",
    "model.test_cfg.rcnn.score_thr=0.0",
    "model.test_cfg.rcnn.max_per_img=20",
)
TORCHVISION = (
    *LOADERS,
    "model.min_size=64",
    "model.max_size=80",
    "model.options.box_batch_size_per_image=8",
)
CLASSIFIER = (
    *LOADERS,
    "model.num_classes=8",
    "model.data_preprocessor.num_classes=8",
    "train_dataloader.dataset.pipeline.0.size=32",
    "val_dataloader.dataset.pipeline.0.size=32",
    "val_dataloader.dataset.pipeline.0.resize=36",
)
IMAGES = "test_dataloader.dataset.pipeline.1.scale=" + SMALL


ONE_STEP = (*MMDETECTION, "train_dataloader.dataset.indices=2", "train_cfg.val_interval=9")
TESTED = (
    f"test_dataloader.dataset.pipeline.1.scale={SMALL}",
    "test_dataloader.num_workers=0",
    "test_dataloader.persistent_workers=False",
)
ELSEWHERE = "--work-dir work_dirs/elsewhere"


CONFIG = "mask_rcnn_x101_32x4d_fpn_coco"
"""What CONFIG stands for in the documents."""


class Form(NamedTuple):
    """A command line's small form.

    Args:
        begins: the line begins so; the first form that fits is taken.
        settings: of its config, behind those of the line.
        more: other words behind it.
        leaves: files that are there when it has ended.
        copies: of these, under the names that later lines have.
        torchrun: whether two processes are started; else one is.
        statuses: of which it ends with one.
    """

    begins: str
    settings: tuple[str, ...] = ()
    more: str = ""
    leaves: tuple[str, ...] = ()
    copies: tuple[tuple[str, str], ...] = ()
    torchrun: bool = False
    statuses: tuple[int, ...] = (0,)


MASK_RCNN = "work_dirs/mask_rcnn_x101_32x4d_fpn_coco"
TORCHVISIONS = "work_dirs/mask_rcnn_x50_32x4d_fpn_coco"
BICYCLES = "work_dirs/bicycles"
PAPER = "work_dirs/resnext50_32x4d_paper"
ON_101 = "work_dirs/resnext101_32x4d_paper"

FORMS = (
    Form(
        "torchrun --nproc_per_node 8 tools/train.py configs/mask_rcnn_x101_32x4d_fpn_coco.py --amp",
        MMDETECTION,
        leaves=(f"{MASK_RCNN}/epoch_1.pth",),
        copies=((f"{MASK_RCNN}/epoch_1.pth", "epoch_12.pth"),),
        torchrun=True,
    ),
    Form(
        "torchrun --nproc_per_node 8 tools/train.py configs/torchvision/mask_rcnn_x50_32x4d_fpn_"
        "coco.py --amp bf16 --variant",
        TORCHVISION,
        ELSEWHERE,
    ),
    Form(
        "torchrun --nproc_per_node 8 tools/train.py configs/torchvision/mask_rcnn_x50_32x4d_fpn_",
        TORCHVISION,
        leaves=(f"{TORCHVISIONS}/epoch_1.pth",),
        copies=((f"{TORCHVISIONS}/epoch_1.pth", f"{TORCHVISIONS}/epoch_12.pth"),),
    ),
    Form("python tools/train.py configs/torchvision/mask_rcnn", TORCHVISION, ELSEWHERE),
    Form("python tools/test.py configs/torchvision/mask_rcnn", TORCHVISION, ELSEWHERE),
    Form(
        "torchrun --nproc_per_node 8 tools/pretrain_imagenet.py configs/imagenet/paper.py --data",
        CLASSIFIER,
        leaves=(f"{PAPER}/epoch_1.pth",),
        copies=((f"{PAPER}/*.safetensors", "SOURCE"),),
        torchrun=True,
    ),
    Form(
        "torchrun --nproc_per_node 8 tools/pretrain_imagenet.py configs/imagenet/paper.py --var",
        CLASSIFIER,
        copies=((f"{ON_101}/*.safetensors", "FILE"),),
    ),
    Form("resnext pretrain imagenet/a3", CLASSIFIER),
    Form("python tools/pretrain_imagenet.py configs/cifar/cifar10_quick.py", LOADERS),
    Form("python tools/train.py configs/mask_rcnn", ONE_STEP, ELSEWHERE),
    Form("torchrun --nproc_per_node 8 -m resnext_backbones train", ONE_STEP, ELSEWHERE),
    Form("resnext train CONFIG", ONE_STEP, ELSEWHERE),
    Form("resnext train overfit_coco", ONE_STEP, ELSEWHERE),
    Form(
        "resnext train configs/bicycles.py",
        MMDETECTION,
        leaves=(f"{BICYCLES}/epoch_1.pth",),
        copies=((f"{BICYCLES}/epoch_1.pth", f"{BICYCLES}/epoch_12.pth"),),
    ),
    Form("resnext test configs/bicycles.py", (*TESTED, *MMDETECTION[-4:])),
    Form(
        "resnext predict configs/bicycles.py",
        (*TESTED, *MMDETECTION[-4:]),
        leaves=("found_bicycles/predictions.json",),
    ),
    Form("resnext report work_dirs/bicycles", leaves=(f"{BICYCLES}/report.html",)),
    Form(
        "resnext check-data --from",
        more="--overwrite",
    ),
    Form("resnext check-data"),
    Form("resnext plan", more="--size 64x64 --batch 2"),
    Form("resnext report", leaves=(f"{MASK_RCNN}/report.html",)),
    Form("resnext tune", more="--size 64x64 --seconds 1"),
    Form("resnext convert"),
    Form("resnext export torchvision", leaves=("x50.onnx", "x50.xml", "x50.bin")),
    Form("python examples/run_onnx.py"),
    Form("python tools/convert_weights.py"),
    Form(
        "resnext predict",
        (*TESTED, *MMDETECTION[-4:]),
        leaves=("found/predictions.json", "found/images.json", "found/pictures/street.jpg"),
    ),
    Form("resnext doctor", leaves=("doctor.txt",), statuses=(0, 1)),  # 1: of this machine
    Form("eval"),
    Form("export"),
)


def form_of(line: str) -> Form | None:
    """The small form of a command line, or None."""
    return next((form for form in FORMS if line.startswith(form.begins)), None)


def small_words(line: str, form: Form) -> list[str]:
    """The words of a line in its small form, without the program that starts its processes."""
    words = shlex.split(line.replace("CONFIG", CONFIG))
    settings = [*form.settings]
    if "--cfg-options" in words:
        end = words.index("--cfg-options") + 1
        given = {word.partition("=")[0] for word in words[end:]}
        words[end:end] = [each for each in settings if each.partition("=")[0] not in given]
    elif settings:
        words += ["--cfg-options", *settings]
    return words + form.more.split()
