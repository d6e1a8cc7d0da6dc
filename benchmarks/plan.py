"""The memory that `resnext plan` names beside that of a real step, for detectors and a classifier.

python -m benchmarks.plan --out docs/benchmarks

A step is real where its tensors have memory: its peak is what PyTorch's profiler saw allocated on
the CPU, with what kernels ask PyTorch for while they run, and with `--device cuda` what PyTorch's
allocator had given away at most. Images are small on a CPU, so that all cases end in about four
minutes on two cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.command import console, finish, parser_of
from benchmarks.provenance import provenance
from resnext_backbones.cli import run_tool
from resnext_backbones.engine.plan.apart import processes, result_of
from resnext_backbones.engine.plan.footprint import TYPES
from resnext_backbones.engine.plan.settings import Setting
from resnext_backbones.engine.plan.step import build, take_step
from resnext_backbones.tasks.batches import batch_of, pin
from resnext_backbones.tasks.counted import count, read

BOXES = 150
"""Objects in an image: samplers then find as many positive regions as they take."""


class Case(NamedTuple):
    """Names a config, the size (H, W) of its step's images, and how it is run."""

    config: str
    size: tuple[int, int]
    setting: Setting


SMALL = 320, 448
CASES = (
    Case("mask_rcnn_x101_32x4d_fpn_coco", SMALL, Setting("", 1)),
    Case("mask_rcnn_x101_32x4d_fpn_coco", SMALL, Setting("bf16", 1)),
    Case("mask_rcnn_x101_32x4d_fpn_coco", SMALL, Setting("", 2, recompute="pair")),
    Case("faster_rcnn_x50_32x4d_fpn_coco", SMALL, Setting("", 2)),
    Case("retinanet_x101_32x4d_fpn_coco", SMALL, Setting("", 2)),
    Case("torchvision/mask_rcnn_x50_32x4d_fpn_coco", SMALL, Setting("", 2)),
    Case("torchvision/deeplabv3_x50_32x4d_voc", SMALL, Setting("", 2)),
    Case("imagenet/a2", (224, 224), Setting("", 16)),
)


LARGE = 800, 1344
GPU_CASES = (
    Case("mask_rcnn_x101_32x4d_fpn_coco", LARGE, Setting("bf16", 2)),
    Case("mask_rcnn_x101_32x4d_fpn_coco", LARGE, Setting("", 2, recompute="pair")),
    Case("torchvision/mask_rcnn_x50_32x4d_fpn_coco", LARGE, Setting("fp16", 2)),
)
OF_DEVICE = {"cpu": CASES, "cuda": GPU_CASES}


def measure(case: Case) -> dict[str, int]:
    """Returns bytes: what a real step keeps, its peak by its tensors, and by PyTorch's profiler."""
    cfg = case.setting.applied(read(case.config, None, None)[0])
    torch.manual_seed(0)
    ready = build(cfg)
    pin(ready.model)
    data = batch_of(cfg, case.setting.batch, case.size, BOXES)
    found = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
    taken = take_step(ready, data, amp=TYPES[case.setting.amp], around=lambda: found)
    begin = taken.parameters + taken.optimizer
    return {"kept": taken.kept, "tensors": taken.peak, "profiled": begin + highest(found)}


def measure_on_gpu(case: Case) -> dict[str, int]:
    """Returns the most bytes that PyTorch's allocator had given away in a step that was not the
    first, as "profiled".
    """
    cfg = case.setting.applied(read(case.config, None, None)[0])
    torch.manual_seed(0)
    ready = build(cfg)
    pin(ready.model)
    model: Any = ready.model.to("cuda")
    data = batch_of(cfg, case.setting.batch, case.size, BOXES)
    amp = TYPES[case.setting.amp]
    for _ in range(3):
        torch.cuda.reset_peak_memory_stats()
        ready.wrapper.zero_grad()
        with torch.autocast("cuda", amp or torch.bfloat16, enabled=amp is not None):
            losses = model._run_forward(model.data_preprocessor(data(), True), mode="loss")
            loss, _ = model.parse_losses(losses)
        loss.backward()
        ready.wrapper.step()
        del losses, loss, _
    return {"profiled": torch.cuda.max_memory_allocated()}


def highest(found: profile) -> int:
    """Returns the most bytes that were allocated at once, of those that were not before."""
    now = most = 0
    for event in sorted(_allocations(found), key=lambda each: each[0]):
        now += event[1]
        most = max(most, now)
    return most


def _allocations(found: profile) -> Iterator[tuple[int, int]]:
    """Yields when how many bytes were allocated; freed ones are below zero."""
    assert found.profiler is not None
    assert found.profiler.kineto_results is not None
    waiting = list(found.profiler.kineto_results.experimental_event_tree())
    while waiting:
        event = waiting.pop()
        waiting += event.children
        fields: Any = event.extra_fields
        if hasattr(fields, "alloc_size") and fields.device.type == "cpu":
            yield event.start_time_ns, fields.alloc_size


def compare(case: Case, device: str) -> dict[str, Any]:
    """Returns a row: planned and measured bytes, each in a process of its own."""
    setting = case.setting
    with processes([]) as call:
        planned = call(count, case.config, None, None, setting, case.size, BOXES)
        real = result_of(call(measure_on_gpu if device == "cuda" else measure, case))
        footprint, fitted = result_of(planned)
    changed = "" if setting.recompute is None else f"recompute={setting.recompute}"
    return {
        "config": case.config,
        "precision": setting.amp or "float32",
        "changed": changed,
        "images": setting.batch,
        "height": case.size[0],
        "width": case.size[1],
        "fitted": fitted,
        "planned_kept": footprint.kept,
        "kept_bytes": real.get("kept"),
        "planned_peak": footprint.peak,
        "tensors_peak": real.get("tensors"),
        "peak_bytes": real["profiled"],
        "peak_ratio": footprint.peak / real["profiled"],
    }


def main() -> None:
    parser = parser_of("plan", __doc__)
    parser.add_argument("--device", choices=OF_DEVICE, default="cpu", help="default: %(default)s")
    parser.add_argument("--cases", nargs="+", type=int, help="numbers, from 0; default: all")
    args = parser.parse_args()
    say = console().log
    rows = []
    cases = OF_DEVICE[args.device]
    for number in args.cases or range(len(cases)):
        say(cases[number].config)
        rows.append(compare(cases[number], args.device))
        say(rows[-1])
    result = {"plan": {"boxes": BOXES}, "rows": rows, **provenance(args.device)}
    finish("plan", result, args.out, "plan")


if __name__ == "__main__":
    run_tool(main)
