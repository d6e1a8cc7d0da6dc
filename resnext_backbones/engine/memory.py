"""Where memory runs out, a run ends with what would take less of it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from resnext_backbones.engine.checks.arguments import arguments
from resnext_backbones.engine.peak import PROCESS, process_peak
from resnext_backbones.engine.walk import value_at
from resnext_backbones.errors import InputError

SAID_BY = (
    "out of memory", "can't allocate memory", "DefaultCPUAllocator", "ALLOC_FAILED",
    "Insufficient memory", "Unable to allocate", "Cannot allocate memory",
)  # fmt: skip
"""PyTorch, CUDA's libraries, OpenCV, NumPy and Linux say so that there is no memory."""

HALVED = {"resnext_backbones.Bfloat16OptimWrapper": "bf16", "AmpOptimWrapper": "fp16"}
"""Optimiser wrappers of configs that compute in mixed precision, and in which."""

RECOMPUTE = {
    "resnext_backbones.ImageClassifier": "model.network.recompute",
    "resnext_backbones.TorchvisionDetector": "model.backbone.recompute",
    "resnext_backbones.TorchvisionSegmenter": "model.backbone.recompute",
}
"""The setting that computes blocks twice and keeps less of them, by the type of the model."""

BATCH, OF_SHARDS = "train_dataloader.batch_size", "train_dataloader.dataset.batch_size"
"""A config says the images of a batch here, and of shards in both places."""

WITH_CP = "model.backbone.with_cp"


@contextmanager
def less_memory_named(options: Callable[[], Iterable[str]]) -> Iterator[None]:
    """Raises InputError, with the peak and the options that take less, where memory runs out.

    Args:
        options: returns them in words, what helps most first.
    """
    try:
        yield
    except Exception as error:  # they are of many kinds
        if not is_out_of_memory(error):
            raise
        listed = "\n".join(f"  {option}" for option in options())
        raise InputError(
            f"out of memory: {_first_line(error)}\n{peak()}; this takes less, what helps most "
            f"first:\n{listed}"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Tells whether an error says that there is no memory, of a GPU or of the machine."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # OpenCV's error is a class of its own.
    is_kind = isinstance(error, RuntimeError) or type(error).__module__.startswith("cv2")
    return is_kind and any(word in str(error) for word in SAID_BY)


def peak() -> str:
    """Returns how much memory this process took at most, in words."""
    taken, of = peak_bytes()
    if torch.cuda.is_initialized():
        total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
        return f"the peak was {taken / 2**30:.1f} of the {of}'s {total / 2**30:.1f} GiB"
    return f"the peak of this {of} was {taken / 2**30:.1f} GiB"


def peak_bytes() -> tuple[int, str]:
    """Returns how much memory this process took at most, and of what: the GPU, in tensors, or the
    process as the system counts it.
    """
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated(), "GPU"
    return process_peak(), PROCESS


def training_options(cfg: Any) -> Iterator[str]:
    """Yields what a config could be trained with in less memory, of what it does not do yet."""
    setting = recompute_setting(cfg)
    if setting and not value_at(cfg, setting):
        yield f"--cfg-options {setting}=True: blocks keep less, and are computed twice"
    if value_at(cfg, "optim_wrapper.type") not in HALVED:
        yield "--amp bf16: activations take half"
    batch = value_at(cfg, "train_dataloader.batch_size") or 1
    if batch > 1:
        follows = (
            "the learning rate follows"
            if value_at(cfg, "auto_scale_lr.enable")
            else "with optim_wrapper.accumulative_counts=2 for the same learning rate"
        )
        said = " ".join(f"{k}={v}" for k, v in batch_settings(cfg, batch // 2).items())
        yield f"--cfg-options {said}, of {batch} now: {follows}"
    frozen = value_at(cfg, "model.backbone.frozen_stages")
    if isinstance(frozen, int) and frozen < 2:
        yield f"--cfg-options model.backbone.frozen_stages={frozen + 1}: frozen stages keep nothing"
    yield f"smaller images: {_sizes(cfg)}"


def batch_settings(cfg: Any, batch: int) -> dict[str, int]:
    """Returns where a config says how many images a batch has: shards make batches themselves."""
    return {BATCH: batch, **({OF_SHARDS: batch} if value_at(cfg, OF_SHARDS) else {})}


def evaluation_options(cfg: Any, split: str) -> Iterator[str]:
    """Yields what a config could be evaluated with in less memory."""
    batch = value_at(cfg, f"{split}_dataloader.batch_size") or 1
    if batch > 1:
        yield f"--cfg-options {split}_dataloader.batch_size={batch // 2}, of {batch} now"
    for part in ("rpn", "rcnn"):
        if most := value_at(cfg, f"model.test_cfg.{part}.max_per_img"):
            yield f"--cfg-options model.test_cfg.{part}.max_per_img={most // 2}, of {most} now"
    yield f"smaller images: {_sizes(cfg, split)}"


def recompute_setting(cfg: Any) -> str:
    """Returns where a config says that blocks are computed twice; "" where it cannot."""
    if setting := RECOMPUTE.get(str(value_at(cfg, "model.type"))):
        return setting
    backbone = value_at(cfg, "model.backbone")
    if not isinstance(backbone, Mapping):
        return ""
    from mmengine.registry import MODELS  # Detectron2's engine does without MMEngine

    from resnext_backbones.engine.checks.signatures import registered

    built = registered(MODELS, backbone.get("type"), backbone)
    return WITH_CP if built is not None and "with_cp" in arguments(built)[0] else ""


def _sizes(cfg: Any, split: str = "train") -> str:
    """Returns where a config says how large its images are."""
    if value_at(cfg, "model.min_size"):
        return "--cfg-options model.min_size and model.max_size"
    if value_at(cfg, f"{split}_dataloader.dataset.size"):
        return f"--cfg-options {split}_dataloader.dataset.size"
    return f"the sizes in the pipeline of {split}_dataloader.dataset"


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if any(word in line for word in SAID_BY)]
    lines = lines or str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip()
