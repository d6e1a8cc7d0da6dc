"""A command may need an extra of the package, which brings modules."""

from __future__ import annotations

from importlib.util import find_spec

from resnext_backbones.errors import InputError

EXTRAS: dict[str, tuple[str, ...]] = {
    "train": ("mmdet", "torchvision"),
    "test": ("mmdet", "torchvision"),
    "predict": ("mmdet",),
    "verify": ("mmdet", "pretrain"),
    "pretrain": ("pretrain",),
    "publish": ("pretrain",),
    "export": ("export",),
    "plan": ("mmdet", "torchvision", "pretrain"),
    "check-data": ("formats",),
    "report": ("report",),
    "demo": ("mmdet",),
}
"""Where a command has several, each is enough for a part of what it does."""

MODULES = (
    "cv2",
    "defusedxml",
    "jinja2",
    "matplotlib",
    "mmcv",
    "mmdet",
    "mmengine",
    "nncf",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "PIL",
    "plotly",
    "pycocotools",
    "rich",
    "supervision",
    "tensorboard",
    "timm",
    "transformers",
    "webdataset",
)
"""The extras install these, as Python imports them."""


NEEDED = {"report": ("jinja2", "plotly")}
"""What a run does without, if need be, needs these modules."""


def installation(extra: str) -> str:
    return f'pip install "resnext_backbones[{extra}]"'


def check_module(command: str, error: ModuleNotFoundError) -> None:
    """Raises InputError, which says how to install it, where an extra brings a module that a
    command did not find.
    """
    module = (error.name or "").partition(".")[0]
    extras = EXTRAS.get(command, ())
    if extras and module in MODULES and find_spec(module) is None:
        raise InputError(
            f"{command}: needs {module}, which is not installed: "
            f"{' or '.join(map(installation, extras))}"
        ) from error
