"""Finds the eps of a detector's norms, which no tensor shows, and scales them for the usual one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from resnext_backbones.models.architecture import Architecture
from resnext_backbones.weights.checkpoint import EPS
from resnext_backbones.weights.compare import VARIANCE
from resnext_backbones.weights.detector_arithmetic import with_eps
from resnext_backbones.weights.detector_names import TORCHVISION
from resnext_backbones.weights.download import hash_of
from resnext_backbones.weights.errors import WeightsError

State = dict[str, Tensor]

WITHOUT_EPS = ("258fb6c6", "bf2d0c1e", "eeacb38b")
"""torchvision's `COCO_V1` of Faster and Mask R-CNN and of RetinaNet, by the hashes in their names,
whose frozen norms have an eps of 0; torchvision builds them so. Of copies that were saved again
nobody knows."""


def batch_norms(state: State) -> list[str]:
    """Returns the names of batch norms: all others cannot be scaled for another eps."""
    names = (key.removesuffix(VARIANCE) for key in state if key.endswith(VARIANCE))
    return [name for name in names if f"{name}.weight" in state]


def eps_of(
    layout: str,
    file: Path,
    said: Architecture | None,
    given: float | None,
    source: object,
) -> tuple[float, str]:
    """Returns the eps of the norms of a detector of a layout, and how it is known; WeightsError:
    another was given, or it is not one.
    """
    known: tuple[Any, str] | None = None
    if layout == TORCHVISION and hash_of(file).startswith(WITHOUT_EPS):
        known = 0.0, "by the hash of torchvision's file"
    elif said is not None and "eps" not in said.unsaid:
        known = said.eps, "as the file says"
    if known and (isinstance(known[0], tuple) or given not in (None, known[0])):
        raise WeightsError(
            f"weights {source}: its norms have an eps of {known[0]}, {known[1]}"
            + (f", and {given:g} was given" if given is not None else ", which are several")
            + ". Nothing was written"
        )
    if known is None and given is None:
        copies = "; torchvision's COCO_V1, saved again, have 0, which --norm-eps 0 says"
        more = copies if layout == TORCHVISION else ""
        return EPS, f"assumed, since the file does not say it{more}"
    eps, why = known if known else (float(given or 0), "as was given")
    return eps, why + (f"; scaled for {EPS}, which rounds" if eps != EPS else "")


def give_eps(state: State, norms: list[str], eps: float, source: object) -> None:
    """Scales batch norms with an eps for the usual one; WeightsError: a variance of 0 has none."""
    for name in norms if eps != EPS else ():
        scale, variance = state[f"{name}.weight"], state[name + VARIANCE]
        state[f"{name}.weight"] = with_eps(scale, variance, eps, EPS)
        if not state[f"{name}.weight"].isfinite().all():
            raise WeightsError(
                f"weights {source}: {name} has a variance of 0, so an eps of {eps:g} cannot be its "
                "own. Nothing was written"
            )
