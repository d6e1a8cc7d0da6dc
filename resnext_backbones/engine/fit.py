"""Whether a detector and the weights of its backbone fit each other, in any framework."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from resnext_backbones.errors import InputError
from resnext_backbones.weights import Preprocessing, WeightsError, preprocessing_of
from resnext_backbones.weights.checkpoint import Checkpoint
from resnext_backbones.weights.errors import DownloadError
from resnext_backbones.weights.files import read_file
from resnext_backbones.weights.sources import locate

NONE = "none"
"""In place of weights: random values, with nothing frozen and with norms that learn statistics."""


@dataclass(frozen=True)
class WeightsUse:
    """What a detector does with the weights of its backbone, and what its framework calls it.

    Attributes:
        source: of the weights; None where there are none.
        wanted, given: the pixels that the weights expect and that the detector gives them; None
            where it is not known.
        giver: what the pixels are set by.
        frozen: the settings that freeze stages or norms, with their values; "" where none is.
        unfreeze: the settings that freeze none.
        norms_move: whether there are norms with the statistics of each batch.
        still_norms: the setting with which there are none.
        fused: tells whether the weights' norms only scale and shift; asked where norms move.
    """

    source: str | None
    wanted: Preprocessing | None
    given: Preprocessing | None
    giver: str
    frozen: str
    unfreeze: str
    norms_move: bool
    still_norms: str
    fused: Callable[[], bool]

    def problems(self) -> Iterator[str]:
        """What does not fit.

        Raises:
            WeightsError: the weights cannot be had or read.
        """
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


def check_use(
    use: WeightsUse,
    *more: str,
    allow_mismatch: bool = False,
    permit: str = "pass --allow-mismatch",
    warn: Callable[[str], None],
) -> None:
    """Stop at the first thing that does not fit.

    Args:
        more: problems that a framework has found by itself.
        allow_mismatch: hand all of them to `warn`, and go on.
        permit: how to ask for that, in the message.

    Raises:
        InputError: something does not fit.
        WeightsError: the weights cannot be had or read.
    """
    for problem in (*more, *use.problems()):
        if not allow_mismatch:
            raise InputError(f"{problem}; {permit} to train anyway")
        warn(problem)


@contextmanager
def given_by_option() -> Iterator[None]:
    """Says of weights that cannot be had which option of the command names others.

    Raises:
        InputError: there is no such file.
        WeightsError: they cannot be downloaded.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(str(error)) from error
    except DownloadError as error:
        raise WeightsError(f"{error}, or name it where it lies: --weights FILE") from error


def check_weights(
    use: WeightsUse | None, *, allow_mismatch: bool = False, permit: str = "pass --allow-mismatch"
) -> None:
    """As `check_use`, with warnings in MMEngine's log; None, where it is not known, is left alone.

    Raises:
        InputError: something does not fit.
        WeightsError: the weights cannot be had or read.
    """
    from mmengine.logging import print_log

    warn = partial(print_log, logger="current", level=logging.WARNING)
    if use is not None:
        with given_by_option():
            check_use(use, allow_mismatch=allow_mismatch, permit=permit, warn=warn)


def fetch_weights(use: WeightsUse | None) -> None:
    """Downloads the weights of a backbone, if there are some and they are not here yet.

    Raises:
        InputError: there is no such file.
        WeightsError: they cannot be had; the message says where to put them.
    """
    if use is not None and use.source is not None:
        with given_by_option():
            locate(use.source)


def are_fused(source: str | None) -> bool:
    """Tells whether the norms of weights only scale and shift.

    Raises:
        FileNotFoundError, WeightsError: the weights cannot be had or read.
    """
    return source is not None and Checkpoint.of(read_file(locate(source))).fused


def known_pixels(source: str) -> Preprocessing | None:
    """The pixels that weights expect; None where it is not known.

    Raises:
        InputError: there is no such file.
        WeightsError: there is no such alias.
    """
    try:
        return preprocessing_of(source)
    except FileNotFoundError as error:
        raise InputError(str(error)) from error
    except WeightsError:
        if not Path(source).is_file() and "://" not in source:
            raise
        return None
