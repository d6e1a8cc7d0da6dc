"""Weights, checkpoint, images and network must fit each other before the first step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from resnext_backbones.errors import InputError, some
from resnext_backbones.weights import Preprocessing, WeightsError, preprocessing_of
from resnext_backbones.weights.checkpoint import Checkpoint
from resnext_backbones.weights.configs import pixels_in
from resnext_backbones.weights.errors import DownloadError
from resnext_backbones.weights.files import read_file
from resnext_backbones.weights.sources import locate

PERMIT = "pass --allow-mismatch"

NONE = "none"
"""This asks for random values, with nothing frozen and with norms that learn statistics."""


@dataclass(frozen=True)
class WeightsUse:
    """A detector uses the weights of its backbone so, in the words of its framework."""

    source: str | None  # of the weights; None where there are none
    wanted: Preprocessing | None  # the pixels that the weights expect; None: not known
    given: Preprocessing | None  # the pixels that the detector gives them
    giver: str  # what these are set by
    frozen: str  # the settings that freeze stages or norms, with their values; "" where none is
    unfreeze: str  # the settings that freeze none
    norms_move: bool  # there are norms with the statistics of each batch
    still_norms: str  # the setting with which there are none
    fused: Callable[[], bool]  # the weights' norms only scale and shift; asked where norms move

    def problems(self) -> Iterator[str]:
        """Yields what does not fit; raises WeightsError where the weights cannot be had or read."""
        if self.source is None:
            if self.frozen:
                yield (
                    f"{self.frozen}, but the backbone has no weights: what is frozen would keep "
                    f"random values; give --weights, or --weights {NONE}, which freezes nothing "
                    f"(or set {self.unfreeze})"
                )
            return
        if self.wanted and self.given and self.wanted != self.given:
            yield (
                f"weights {self.source} expect pixels of {self.wanted}; the detector's "
                f"{self.giver} gives {self.given}"
            )
        if self.norms_move and self.fused():
            yield (
                f"weights {self.source} have fused norms, which only scale and shift: with "
                f"statistics of a batch they compute something else; set {self.still_norms}"
            )


def log_warning(message: str) -> None:
    """Warns in MMEngine's log, which Detectron2's engine does without."""
    _log(message, logging.WARNING)


def log_info(message: str) -> None:
    """Tells MMEngine's log something."""
    _log(message, logging.INFO)


def _log(message: str, level: int) -> None:
    from mmengine.logging import print_log

    print_log(message, logger="current", level=level)


def stop_at(
    problems: Iterable[str],
    *,
    allow_mismatch: bool,
    permit: str = PERMIT,
    to: str = "train",
    warn: Callable[[str], None] = log_warning,
) -> None:
    """Raises InputError of the first problem, or hands all of them to `warn`.

    Args:
        permit, to: how to ask for that, and what one could do then, in the message.
    """
    for problem in problems:
        if not allow_mismatch:
            raise InputError(f"{problem}; {permit} to {to} anyway")
        warn(problem)


def refuse_earlier_run(work_dir: Path) -> None:
    """Raises InputError where a new run would begin in a folder with checkpoints."""
    if any(work_dir.glob("*.pth")):
        raise InputError(
            f"--work-dir {work_dir}: holds the checkpoints of an earlier run; "
            "go on with --resume, or name another folder"
        )


@contextmanager
def given_by_option() -> Iterator[None]:
    """Raises InputError where there is no such file, and WeightsError, which names the option for
    another, where weights cannot be downloaded.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(str(error)) from error
    except DownloadError as error:
        raise WeightsError(f"{error}, or name it where it lies: --weights FILE") from error


def check_weights(
    use: WeightsUse | None, *, allow_mismatch: bool = False, permit: str = PERMIT
) -> None:
    """Raises InputError where a detector does not fit its weights, which None does not say, and
    WeightsError where they cannot be had or read.
    """
    if use is not None:
        with given_by_option():
            stop_at(use.problems(), allow_mismatch=allow_mismatch, permit=permit)


def fetch_weights(use: WeightsUse | None) -> None:
    """Downloads the weights of a backbone, if there are some and they are not here yet; errors as
    `given_by_option` has them.
    """
    if use is not None and use.source is not None:
        with given_by_option():
            locate(use.source)


def are_fused(source: str | None, prefix: str = "") -> bool:
    """Tells whether the norms of weights, those of a trunk behind a prefix, only scale and shift.

    Raises FileNotFoundError or WeightsError where the weights cannot be had or read.
    """
    if source is None:
        return False
    return Checkpoint.of(read_file(locate(source)), prefix=prefix, source=source).fused


def known_pixels(source: str) -> Preprocessing | None:
    """Returns the pixels that weights expect; None where it is not known.

    Raises InputError where there is no such file, and WeightsError where there is no such alias.
    """
    try:
        return preprocessing_of(source)
    except FileNotFoundError as error:
        raise InputError(str(error)) from error
    except WeightsError:
        if not Path(source).exists() and "://" not in source:
            raise
        return None


def given_pixels(model: Mapping[str, Any], read_as: str) -> Preprocessing | None:
    """Returns the pixels that a model gives its backbone; None where its config does not say.

    Args:
        read_as: RGB or BGR, the order that images are read in.

    Raises:
        InputError: there are not as many means and standard deviations as channels.
    """
    try:
        return pixels_in(model, read_as)
    except (TypeError, ValueError) as error:
        raise InputError(f"model.data_preprocessor: {error}") from error


def give_pixels(model: MutableMapping[str, Any], source: str | None, read_as: str) -> None:
    """Sets the pixels that weights expect in a model's `data_preprocessor`, if these are known;
    InputError or WeightsError: there is no such file or alias. No alias is downloaded.
    """
    if source and (pixels := known_pixels(source)):
        model.setdefault("data_preprocessor", {}).update(
            mean=list(pixels.mean),
            std=list(pixels.std),
            bgr_to_rgb=(read_as, pixels.order) == ("BGR", "RGB"),
            rgb_to_bgr=(read_as, pixels.order) == ("RGB", "BGR"),
        )


def said_of_none(changes: Iterable[str]) -> str:
    """Returns what the log says of `--weights none`."""
    return f"--weights {NONE}: {', '.join(changes) or 'as the config has it'}"


def use_of_source(
    source: str | None, given: Preprocessing | None, *, prefix: str = "", **settings: Any
) -> WeightsUse:
    """Returns what a model does with its backbone's weights; raises as `give_pixels`.

    Args:
        given: the pixels that its `data_preprocessor` gives them.
        prefix: as of `load_weights`.
        settings: the other attributes of `WeightsUse`.
    """
    wanted = known_pixels(source) if source else None
    fused = partial(are_fused, source, prefix)
    return WeightsUse(source, wanted, given, "data_preprocessor", **settings, fused=fused)


def check_classes(train: Any, val: Any, num_classes: int) -> None:
    """Raises InputError where two loaders differ in classes, or a head in their number."""
    first, second = (loader.dataset.metainfo["classes"] for loader in (train, val))
    if first != second:
        lost = sorted(set(first) ^ set(second)) or "the same ones in another order"
        raise InputError(f"the images to train on and to evaluate with differ in classes: {lost}")
    check_count(first, num_classes)


def check_seen_classes(name: str, meta: Mapping[str, Any], classes: Sequence[str]) -> None:
    """Raises InputError where a checkpoint was trained on other classes, as far as it says them."""
    seen = (meta.get("dataset_meta") or {}).get("classes")
    if classes and seen is not None and tuple(seen) != tuple(classes):
        raise InputError(
            f"checkpoint {name}: its {len(seen)} classes ({some(seen)}) are not the images' "
            f"{len(classes)} ({some(classes)})"
        )


def check_count(classes: Sequence[str], num_classes: int) -> None:
    """Raises InputError where the images have another number of classes than a head."""
    if len(classes) != num_classes:
        raise InputError(
            f"the images have {len(classes)} classes, and model.num_classes is {num_classes}; set "
            "it with --cfg-options"
        )
