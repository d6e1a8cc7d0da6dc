"""Annotations and images of training and validation are checked, alone and against each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import track

from resnext_backbones.data.annotations import Annotations, Say, inspect_annotations
from resnext_backbones.data.between import compare
from resnext_backbones.data.image_check import check_images_of
from resnext_backbones.data.rules import Finding, Outcome, Use

T = TypeVar("T")


@dataclass(frozen=True)
class CheckedFile:
    """Says what an annotation file and its images hold, and what is odd in them."""

    annotations: Annotations
    images: Path | None
    findings: tuple[Finding, ...]  # of the file, and of its images


@dataclass(frozen=True)
class Checked:
    """Says what was found in one file, or in two and between them."""

    files: tuple[CheckedFile, ...]
    between: tuple[Finding, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(f for file in self.files for f in file.findings) + self.between

    @property
    def is_refused(self) -> bool:
        return any(finding.outcome is Outcome.REFUSED for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Returns all of it as plain values."""
        return {
            "refused": self.is_refused,
            "files": [
                {
                    "annotations": str(file.annotations.path),
                    "sha256": file.annotations.digest,
                    "images": file.images and str(file.images),
                    "summary": file.annotations.summary,
                    "findings": list(map(vars, file.findings)),
                }
                for file in self.files
            ],
            "between": list(map(vars, self.between)),
        }


def check_data(
    path: Path,
    images: Path | None = None,
    *,
    val: Path | None = None,
    val_images: Path | None = None,
    masks: bool = False,
    decode: bool = False,
    annotated: bool = True,
    say: Say,
) -> Checked:
    """Returns what is odd in annotations and images, whatever it is.

    Args:
        path: of the annotations that a network learns from; without `val` also of those that it is
            measured on.
        images: the folder of their images; None leaves these out.
        val: the annotations that it is measured on.
        val_images: the folder of theirs.
        masks: the network has masks.
        decode: reads every image to its end.
        annotated: False is a list of images alone.
        say: takes lines about the progress.

    Raises:
        InputError: a file cannot be read, or is not in COCO's format.
    """
    if not annotated:
        return Checked((_check(path, images, Use(annotated=False), decode, say),))
    first = _check(path, images, Use(train=True, evaluate=val is None, masks=masks), decode, say)
    if val is None:
        return Checked((first,))
    second = _check(val, val_images, Use(evaluate=True, masks=masks), decode, say)
    between = compare(first.annotations, second.annotations, images, val_images)
    return Checked((first, second), between)


def _check(path: Path, images: Path | None, use: Use, decode: bool, say: Say) -> CheckedFile:
    found = inspect_annotations(path, use, say)
    of_images: tuple[Finding, ...] = ()
    if images is not None:
        of_images = check_images_of(found.images, images, decode=decode, progress=shown)
    return CheckedFile(found, images, (*found.findings, *of_images))


def shown(images: Iterable[T]) -> Iterable[T]:
    """Yields images, with a line about the progress where somebody sees it."""
    console = Console(stderr=True)
    return track(images, "images", console=console, disable=not console.is_terminal)
