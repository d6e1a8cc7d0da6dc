"""Published numbers are compared with measured ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from resnext_backbones.errors import InputError


@dataclass(frozen=True)
class Standard:
    """A kind of number is published so, and a measurement must come as near."""

    images: int  # that it is published for
    data_set: str
    tolerance: float  # points of percent

    def chosen_tolerance(self, images: int, tolerance: float | None) -> float:
        """Returns the user's tolerance, or this one; raises InputError where there is none of the
        user's, and these are other images.
        """
        if tolerance is not None:
            return tolerance
        if images != self.images:
            raise InputError(
                f"{images} images: the published number is of {self.data_set}'s {self.images}; "
                "take those, or say with --tolerance how far from it these may be"
            )
        return self.tolerance


TOP1 = Standard(50_000, "ImageNet-1k's validation set", 0.2)
"""An accuracy of 80 % on 50,000 images has a standard error of 0.18 points. What libraries decode
and resize differently costs less."""

AP = Standard(5_000, "COCO val2017", 0.1)
"""One unit of the last digit that is published, and that MMDetection's metric rounds to."""


@dataclass(frozen=True)
class Number:
    """A number is published and was measured, in percent."""

    name: str
    published: float
    measured: float  # NaN where the measurement gave none
    tolerance: float

    @property
    def agrees(self) -> bool:
        return abs(self.measured - self.published) <= self.tolerance + 1e-6


def report(what: str, source: str, backbone: str, numbers: Sequence[Number]) -> str:
    """Returns the numbers as lines of text, and the verdict as the last one."""
    lines = [f"{what}, published in {source}", f"measured with the backbone {backbone}"]
    for number in numbers:
        difference = number.measured - number.published
        verdict = "agrees" if number.agrees else "DIFFERS"
        lines.append(
            f"{number.name:8} published {number.published:.2f}  measured {number.measured:.2f}  "
            f"difference {difference:+.2f}  {verdict}, at a tolerance of {number.tolerance:g}"
        )
    agree = all(number.agrees for number in numbers)
    return "\n".join([*lines, "verified" if agree else "not verified"])
