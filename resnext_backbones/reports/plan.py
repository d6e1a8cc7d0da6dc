"""Tables say what a training step takes of memory, and what would change that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnext_backbones.reports.units import columns

if TYPE_CHECKING:
    from resnext_backbones.tasks.plan import Plan


def plan_text(plan: Plan, needed: float | None = None) -> str:
    """Returns a plan as text.

    Args:
        needed: bytes of a GPU that the best setting needs, what is allowed beside its tensors
            among them; None without a GPU.
    """
    height, width = plan.size
    each = f", {plan.boxes} objects in each ({plan.boxes_from})" if plan.boxes else ""
    precision = plan.amp or "float32"
    lines = [
        f"{plan.name}: {plan.images} x {height} x {width} pixels{each}, {precision}",
        "",
        *_table(_parts(plan), ("", "GB")),
        "",
    ]
    if plan.changes:
        lines += [*_table(_changes(plan), ("alone, this would make", "peak", "")), ""]
    if plan.fitted:
        lines += [
            "Fitted to two real steps with smaller images: +- 20%. Something in this network takes "
            f"no fake tensors ({plan.fitted}).",
            "",
        ]
    if plan.gpu is not None and plan.best is not None and needed is not None:
        lines += _verdict(plan, needed)
    return "\n".join(lines).rstrip()


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
    return [
        (row.said, _gb(row.footprint.peak), f"{row.footprint.peak / peak - 1:+.0%}")
        for row in plan.changes
    ]


def _verdict(plan: Plan, needed: float) -> list[str]:
    assert plan.gpu is not None
    room = f"{_gb(plan.gpu)} GB"
    allowed = "with what is allowed for CUDA itself and for what its allocator cannot use"
    if not plan.command:
        return [
            f"Does not fit {room}: the least of all settings with as many images a step takes "
            f"{_gb(needed)} GB, {allowed}. Smaller images, a smaller network or more frozen "
            "stages take less."
        ]
    return [f"Fits {room}, and takes {_gb(needed)}, {allowed}:", "", f"    {plan.command}"]


def _gb(size: float) -> str:
    return f"{size / 1e9:.2f}"


def _table(rows: list[tuple[str, ...]], head: tuple[str, ...]) -> list[str]:
    return columns([head, *rows], right=range(1, len(head)))
