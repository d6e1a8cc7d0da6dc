"""What was found in annotations is printed as tables, and written as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from resnext_backbones.data.check import Checked
from resnext_backbones.data.coco_table import as_text
from resnext_backbones.data.formats.convert import Converted
from resnext_backbones.data.rules import Finding, Outcome
from resnext_backbones.errors import some

SHOWN = 4  # categories at each end of the list

ORDER = tuple(Outcome)


def findings_table(title: str, findings: Sequence[Finding]) -> str:
    """Returns a row for each rule that was broken: what becomes of it, how often, and the first
    example with what to do.
    """
    table = Table(title=title, title_justify="left", show_lines=True)
    table.add_column("rule", max_width=18)
    table.add_column("what happens", max_width=10)
    table.add_column("how many", justify="right", no_wrap=True)
    table.add_column("first", overflow="fold")
    for finding in sorted(findings, key=lambda f: ORDER.index(f.outcome)):
        row = (finding.rule, finding.outcome.value, f"{finding.count:,}", finding.message)
        table.add_row(*map(Text, row))  # brackets in a file are no markup
    return as_text(table)


def summary_table(title: str, summary: dict[str, Any]) -> str:
    """Returns images, sizes and categories in a few rows."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, value in _rows(summary):
        table.add_row(Text(name), Text(value))
    return as_text(table)


def _rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    sizes, aspect = summary["objects"], summary["aspect"]
    rows = [
        ("images", f"{summary['images']:,}; {summary['images_without_objects']:,} without objects"),
        ("width, height", f"{_spread(summary['width'])}; {_spread(summary['height'])} pixels"),
        ("objects", f"{summary['annotations']:,}; {summary['crowds']:,} of them crowds"),
        ("in an image", _spread(summary["objects_in_an_image"])),
        (
            "by COCO's sizes",
            ", ".join(f"{sizes[name]:,} {name}" for name in ("small", "medium", "large")),
        ),
    ]
    if aspect:
        low, middle, high = aspect
        rows.append(("width / height", f"median {middle:g}; 98 % between {low:g} and {high:g}"))
    return [*rows, ("categories", _categories(summary["categories"]))]


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "unknown"
    low, middle, high = values
    return f"{low:g}" if low == high else f"{low:g} to {high:g}, median {middle:g}"


def _categories(counts: Sequence[Sequence[Any]]) -> str:
    ordered = sorted(counts, key=lambda pair: -pair[1])
    names = [f"{name} {count:,}" for name, count in ordered]
    if len(names) <= 2 * SHOWN + 1:
        return f"{len(names)}: {', '.join(names)}"
    empty = sum(count == 0 for _, count in counts)
    without = f"; {empty} without objects" if empty else ""
    return f"{len(names)}: {', '.join(names[:SHOWN])}, ..., {', '.join(names[-SHOWN:])}{without}"


def show_check(checked: Checked) -> str:
    """Returns what was found, as tables, and the verdict as the last line."""
    parts = []
    for file in checked.files:
        found = file.annotations
        kept = ", as found before" if found.is_kept else ""
        parts.append(summary_table(f"{found.path}{kept}", found.summary))
        if file.findings:
            parts.append(findings_table("", file.findings))
    if checked.between:
        first, second = (file.annotations.path.name for file in checked.files)
        parts.append(findings_table(f"{first} and {second}", checked.between))
    return "".join([*parts, _verdict(checked)])


def _verdict(checked: Checked) -> str:
    names = " and ".join(str(file.annotations.path) for file in checked.files)
    refused = [finding for finding in checked.findings if finding.outcome is Outcome.REFUSED]
    if refused:
        return f"refused, for {some(finding.rule for finding in refused)}: {names}"
    count = len(checked.findings)
    remarks = f", with {count} remark{'s'[: count > 1]}" if count else ""
    return f"accepted{remarks}: {names}"


def show_converted(converted: Converted) -> str:
    """Returns what became of every label."""
    account = converted.account
    table = Table(title=f"{converted.path}", title_justify="left")
    table.add_column("labels")
    table.add_column("how many", justify="right", no_wrap=True)
    table.add_column("first", overflow="fold")
    rows: list[tuple[str, int, str]] = [("read", account.labels, "")]
    rows.append((f"objects, in {converted.images:,} images", account.objects, ""))
    if account.joined:
        rows.append(("parts of these", account.joined, ""))
    rows += [
        (f"left out: {what}", count, account.first[what])
        for what, count in account.left_out.items()
    ]
    rows += [(what, count, account.first[what]) for what, count in account.noticed.items()]
    for what, count, first in rows:
        table.add_row(Text(what), f"{count:,}", Text(first))
    return f"{as_text(table)}images: {converted.images_root}"
