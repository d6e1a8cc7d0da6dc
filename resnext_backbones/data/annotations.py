"""Annotation files in COCO's format are read here, once for every tool: checked by one table of
rules, and completed where what is missing has one meaning.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from resnext_backbones.data import kept
from resnext_backbones.data.coco_file import (
    LISTS,
    Content,
    check_kind,
    file_digest,
    is_plain,
    read_content,
)
from resnext_backbones.data.columns import Columns
from resnext_backbones.data.masks import Step
from resnext_backbones.data.rules import RULES, Finding, Outcome, Rule, Use
from resnext_backbones.data.summary import summarise
from resnext_backbones.errors import InputError, some

Say = Callable[[str], None]

LARGE = 20_000_000
"""Reading a file of more bytes takes seconds, and is said."""

EACH = 200_000
"""After so many annotations that is said again."""

CHANGES = (Outcome.FILLED, Outcome.TAKEN_OUT, Outcome.LEFT_OUT)
"""Findings of these outcomes make the content another than the file's."""

KEPT = ("findings", "images", "categories", "count", "summary")
"""These of `Annotations` are kept of a large file."""

IMAGE_KEYS = ("id", "file_name", "width", "height")


def unsaid(*what: object) -> None:
    """Tells nobody."""
    del what


@dataclass(frozen=True)
class Annotations:
    """Holds what an annotation file says, once it is read, checked and completed.

    Attributes:
        path: of the file.
        use: what it was read for.
        digest: the SHA-256 of the file.
        findings: what was refused, filled in, left out and counted, in the rules' order.
        images: their id, file_name, width and height.
        categories: as the file lists them, or by `in_order_of`.
        count: of annotations.
        summary: numbers of the file as it is written: `summarise`.
        is_kept: whether what was found is of an earlier call.
        is_reordered: whether the categories are in another order than the file's.
    """

    path: Path
    use: Use
    digest: str
    findings: tuple[Finding, ...]
    images: list[dict[str, Any]] = field(repr=False)
    categories: list[dict[str, Any]] = field(repr=False)
    count: int
    summary: dict[str, Any] = field(repr=False)
    is_kept: bool = False
    is_reordered: bool = False

    @property
    def names(self) -> list[str]:
        """Returns the names of the categories."""
        return [category["name"] for category in self.categories]

    @property
    def refused(self) -> tuple[Finding, ...]:
        """Returns the findings that keep the file from being used."""
        return tuple(f for f in self.findings if f.outcome is Outcome.REFUSED)

    @property
    def is_complete(self) -> bool:
        """Tells whether others may read the file as it is; else they read `completed_copy`."""
        changes = CHANGES if self.use.evaluate else CHANGES[:2]
        # Whoever trains leaves out objects without size by itself, but not images or categories.
        changed = any(f.outcome in changes or f.rule in LISTED_AGAIN for f in self.findings)
        return not changed and not self.is_reordered

    @cached_property
    def content(self) -> Content:
        """Returns the completed content, in COCO's format."""
        columns = _columns(self.path, self.use, unsaid)
        broken = {f.rule for f in self.findings if f.outcome in CHANGES}
        _check(columns, self.use, [rule for rule in RULES if rule.name in broken])
        return {**columns.content, "categories": self.categories}

    def in_order_of(self, classes: Sequence[str]) -> Annotations:
        """Returns these with their categories in the order of `classes`, and others behind; all of
        `classes` must be there, by their names, or InputError.
        """
        check_classes(self.path, self.names, classes)
        by_name = {category["name"]: category for category in self.categories}
        order = [*classes, *(name for name in self.names if name not in classes)]
        if order == self.names:
            return self
        categories = [by_name[name] for name in order]
        ordered = replace(self, categories=categories, is_reordered=True)
        if (content := self.__dict__.get("content")) is not None:
            ordered.__dict__["content"] = {**content, "categories": categories}
        return ordered

    def tell(self, info: Say, warn: Say) -> None:
        """Tells a line for each finding that is not refused, which names the file: what every data
        set has to `info`, and the others to `warn`.
        """
        for finding in self.findings:
            if finding.outcome is not Outcome.REFUSED:
                (info if finding.is_usual else warn)(
                    f"annotation file {self.path}: {finding.message}"
                )

    def error(self) -> InputError:
        """Returns the error that lists all that is refused."""
        messages = [finding.message for finding in self.refused]
        head = f"annotation file {self.path}:"
        if len(messages) == 1:
            return InputError(f"{head} {messages[0]}")
        return InputError("\n  ".join([f"{head} {len(messages)} faults", *messages]))


def check_classes(path: Path, names: Sequence[str], classes: Sequence[str]) -> None:
    """Raises InputError where a file's categories of these names lack some of `classes`."""
    if absent := [name for name in classes if name not in names]:
        raise InputError(
            f"annotation file {path}: its {len(names)} categories ({some(sorted(names))}) lack "
            f"{len(absent)} of the {len(classes)} classes: {some(absent)}"
        )


LISTED_AGAIN = tuple(
    rule.name for rule in RULES if rule.outcome is Outcome.LEFT_OUT and rule.of != "annotation"
)


def read_annotations(path: Path, use: Use, say: Say = unsaid) -> Annotations:
    """Returns what an annotation file says, completed.

    Args:
        use: what it is read for, which decides what is refused.
        say: takes lines about the progress, of large files.

    Raises:
        InputError: it cannot be read, or would silently be taken wrong; all reasons are named, each
            with its first example and how many there are.
    """
    found = inspect_annotations(path, use, say)
    if found.refused:
        raise found.error()
    return found


def inspect_annotations(path: Path, use: Use, say: Say = unsaid) -> Annotations:
    """Returns what `read_annotations` does, also where something is refused; what it finds is kept
    by the hash of the file. InputError: the file cannot be read at all.
    """
    if not path.is_file():
        raise InputError(f"annotation file {path}: there is no such file")
    size = path.stat().st_size
    digest = file_digest(path)
    if size < LARGE:
        return _inspected(path, use, digest, unsaid)

    def step(done: int, total: int) -> None:
        if done % EACH == 0 or done == total:
            say(f"annotation file {path}: checked {done:,} of {total:,} annotations")

    with kept.one_at_a_time(digest, use):
        if known := kept.find(digest, use):
            return Annotations(path, use, digest, **known, is_kept=True)
        say(f"annotation file {path}: {size / 1e6:,.0f} MB are read and checked, once")
        found = _inspected(path, use, digest, step)
        kept.keep(digest, use, {name: getattr(found, name) for name in KEPT})
    return found


def _inspected(path: Path, use: Use, digest: str, step: Step) -> Annotations:
    columns = _columns(path, use, step)
    check_kind(path, columns.content)
    summary = summarise(columns)
    findings = _check(columns, use)
    images = [{key: image.get(key) for key in IMAGE_KEYS} for image in columns.images]
    count = len(columns.annotations)
    found = Annotations(path, use, digest, findings, images, columns.categories, count, summary)
    found.__dict__["content"] = columns.content  # what was read need not be read again
    return found


def _columns(path: Path, use: Use, step: Step) -> Columns:
    content = read_content(path, LISTS if use.annotated else ("images", "categories"))
    return Columns(content, is_plain=is_plain(path), step=step)


def _check(columns: Columns, use: Use, rules: Sequence[Rule] = RULES) -> tuple[Finding, ...]:
    """Returns what the rules find, once what they fill in is filled in and what they leave out is
    left out; not where something is refused.
    """
    broken = [
        (rule, outcome, rows)
        for rule in rules
        if (outcome := rule.outcome_for(use)) and len(rows := rule.rows(columns))
    ]
    refused = [rule for rule, outcome, _ in broken if outcome is Outcome.REFUSED]
    causes = [rule for rule in refused if not rule.alone]
    effects = [rule for rule in refused if rule.alone and causes]
    found = tuple(Finding.of(*each, columns) for each in broken if each[0] not in effects)
    if refused:
        return found
    left_out: dict[str, set[int]] = defaultdict(set)
    for rule, outcome, rows in broken:
        if outcome is Outcome.LEFT_OUT:
            left_out[rule.of].update(rows.tolist())
        elif outcome in CHANGES and rule.mend:
            rule.mend(columns, rows)
    for kind, gone in left_out.items():
        listed = columns.of(kind)
        listed[:] = [thing for row, thing in enumerate(listed) if row not in gone]
    return found


def completed_copy(annotations: Annotations) -> Path:
    """Returns the path of the completed content, for those who read the file themselves: the file
    itself where it is complete, or else a copy, which is written once.
    """
    if annotations.is_complete:
        return annotations.path
    return kept.copy(
        annotations.path,
        annotations.digest,
        annotations.use,
        annotations.categories,
        lambda: annotations.content,
    )


def find_annotations(root: Path, name: str) -> Path:
    """Returns the path of an annotation file in a data root, where both must be."""
    path = root / name
    if path.is_file():  # whose name may be absolute
        return path
    if not root.is_dir():
        raise InputError(
            f"data root {root}: there is no such folder. The configs of this package take it from "
            "COCO_ROOT, which names the folder with annotations/, train2017/ and val2017/; others "
            "have it as `data_root` in each data set"
        )
    raise InputError(f"annotation file {path}: there is no such file")


def annotation_file(root: Path, split: str) -> Path:
    """Returns the path of a split's annotations in COCO's layout, of `train2017` say."""
    return root / "annotations" / f"instances_{split}.json"
