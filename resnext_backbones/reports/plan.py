"""Tables say what a training step takes of memory, and what would change that."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from resnext_backbones.reports.units import columns

if TYPE_CHECKING:
    from resnext_backbones.engine.plan.step import Footprint
    from resnext_backbones.tasks.plan import Plan


def now_text(plan: Plan) -> str:
    """Returns as text what a config's own setting takes."""
    height, width = plan.size
    each = f", {plan.boxes} objects in each ({plan.boxes_from})" if plan.boxes else ""
    precision = plan.amp or "float32"
    lines = [
        f"{plan.name}: {plan.images} x {height} x {width} pixels{each}, {precision}",
        "",
        *_table(_parts(plan), ("", "GB")),
    ]
    if plan.fitted:
        lines += [
            "",
            "Fitted to two real steps with smaller images: +- 20%. Something in this network takes "
            f"no fake tensors ({plan.fitted}).",
        ]
    return "\n".join(lines)


def more_text(plan: Plan, on_gpu: Callable[[float], float]) -> str:
    """Returns as text what would change that, and what fits.

    Args:
        on_gpu: returns the bytes of a GPU that a step needs, by its peak.
    """
    lines = _table(_changes(plan), ("alone, this would make", "peak", ""))
    if plan.gpu is not None and plan.best is not None:
        lines += ["", *_verdict(plan, plan.best, plan.gpu, on_gpu)]
    return "\n".join(lines)


def _parts(plan: Plan) -> list[tuple[str, ...]]:
    now = plan.now
    return [
        ("parameters", _gb(now.parameters)),
        ("gradients", _gb(now.gradients)),
        (f"optimiser: {plan.optimizer}", _gb(now.optimizer)),
        *([("averaged weights", _gb(now.averaged))] if now.averaged else []),
        ("kept for the backward pass", _gb(now.kept)),
        ("peak of a step", _gb(now.peak)),
    ]


def _changes(plan: Plan) -> list[tuple[str, ...]]:
    peak = plan.now.peak
    peaks = [(row.said, row.footprint.peak) for row in plan.changes]
    peaks.append(("several GPUs (DDP's buckets copy the gradients)", plan.now.in_several_processes))
    return [(said, _gb(each), f"{each / peak - 1:+.0%}") for said, each in peaks]


def _verdict(plan: Plan, best: Footprint, gpu: int, on_gpu: Callable[[float], float]) -> list[str]:
    room = f"{_gb(gpu)} GB"
    needed, each = on_gpu(best.peak), on_gpu(best.in_several_processes)
    allowed = "with what is allowed for CUDA itself and for what its allocator cannot use"
    if not plan.command:
        return [
            f"Does not fit {room}: the least of all settings with as many images a step takes "
            f"{_gb(needed)} GB, {allowed}. Smaller images, a smaller network or more frozen "
            "stages take less."
        ]
    said = "also fits" if each <= gpu else "does not fit"
    return [
        f"Fits {room}, and takes {_gb(needed)} GB, {allowed}:",
        "",
        f"    {plan.command}",
        "",
        f"On each of several GPUs it takes {_gb(each)} GB, which {said}.",
    ]


def _gb(size: float) -> str:
    return f"{size / 1e9:.2f}"


def _table(rows: list[tuple[str, ...]], head: tuple[str, ...]) -> list[str]:
    return columns([head, *rows], right=range(1, len(head)))
