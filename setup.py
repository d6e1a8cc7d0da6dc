"""Packaging; pyproject.toml configures the tools."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(
    r'__version__ = "(.+)"', (ROOT / "resnext_backbones/__init__.py").read_text()
).group(1)

MMDET = [
    "onedl-mmengine>=0.10.8",
    # Compiled against the installed torch: see the README, "Install".
    "onedl-mmcv>=2.3",
    "onedl-mmdetection>=3.5",
    "tensorboard",
    "matplotlib",
    "rich",
]
# Training torchvision's detectors; nothing is compiled.
TORCHVISION = ["pycocotools", "rich"]
# Reads the files of the authors of ResNeXt.
TORCH7 = ["torchfile"]
# MMEngine without MMDetection, timm's LAMB and RandAugment.
PRETRAIN = ["onedl-mmengine>=0.10.8", "timm", "webdataset", "tensorboard", "matplotlib"]
DEV = [
    "pytest",
    "pytest-xdist",
    "hypothesis",
    "ruff",
    "mypy",
    "fvcore",
    "timm",
    "pre-commit",
    "webdataset",
]

setup(
    name="resnext_backbones",
    version=VERSION,
    description="The ResNeXt trunk for detection: one network, one state dict",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["resnext_backbones", "resnext_backbones.*"]),
    # `.mim/configs` is a link to configs/: where OpenMMLab packages keep theirs once installed.
    package_data={
        "resnext_backbones": ["py.typed", ".mim/configs/*.py", ".mim/configs/*/*.py"],
    },
    # torch 2.13 can come as a build with which torchvision's operators do not load.
    install_requires=[
        "torch>=2.4,<2.13",
        "torchvision>=0.19,<0.28",
        "numpy",
        "safetensors",
        "huggingface_hub>=0.30",
        "filelock",
    ],
    extras_require={
        "mmdet": MMDET,
        "torchvision": TORCHVISION,
        "pretrain": PRETRAIN,
        "torch7": TORCH7,
        "dev": [*DEV, *TORCHVISION, *TORCH7],
    },
)
