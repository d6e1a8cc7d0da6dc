"""Names of tensors are read and written by templates; a family of checkpoints is pairs of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnext_backbones.models.architecture import Architecture

FIELDS: dict[str, tuple[str, str]] = {
    "kind": ("kind", "bn gn"),
    "stage": ("stage", "1 2 3 4"),
    "res": ("stage", "2 3 4 5"),
    "i": ("i", "1 2 3"),
    "index": ("i", "0 1 2"),
    "branch": ("i", "a b c"),
    "fc": ("fc", "1 2"),
    "module": ("fc", "0 2"),  # a ReLU is between the two
    # Those of a detector's boxes, which torchvision calls as VGG's.
    "shared": ("fc", "0 1"),
    "vgg": ("fc", "6 7"),
    "norm": ("norm", "weight bias running_mean running_var num_batches_tracked"),
    # Caffe2's names, and those in the files that Detectron2 publishes.
    "blob": ("norm", "s/gamma b/beta rm/running_mean riv/running_var"),
    "parameter": ("parameter", "weight bias"),
    "sb": ("parameter", "s b"),
    "wb": ("parameter", "w b"),
    # Modules of a sequence have numbers. In Torch7's a stage and a block are such modules; behind
    # each of three convolutions, in a block or a deep stem, come its norm and a ReLU.
    "sequence": ("stage", "4 5 6 7"),
    "conv": ("i", "0 3 6"),
    "bn": ("i", "1 4 7"),
    # timm's ByobNet and glasses count stages from 0, and ByobNet says a convolution's size.
    "zero": ("stage", "0 1 2 3"),
    "sized": ("i", "1_1x1 2_kxk 3_1x1"),
}
"""In braces stands a field's name: here are the field whose value it has, and how these values are
written, in the same order. Of several forms the first one is written, and all are read."""

ANY: dict[str, str] = {"block": r"\d+", "rest": r".+"}
"""These fields are written alike in all families."""

FROM_ONE = {"nth": "block"}
"""These count from one what the field beside them counts from zero."""


class Template:
    """Reads and writes names of one form, in which fields stand in braces."""

    def __init__(self, text: str) -> None:
        self._text = text
        seen: set[str] = set()

        def group(found: re.Match[str]) -> str:
            again = found[1] in seen
            seen.add(found[1])
            return f"(?P={found[1]})" if again else _group(found[1])

        # Where the text is escaped, so are its braces.
        self._pattern = re.compile(re.sub(r"\\{(\w+)\\}", group, re.escape(text)))

    def parse(self, name: str) -> dict[str, str] | None:
        """Returns the fields' values, in canonical writing; None if the name has another form."""
        found = self._pattern.fullmatch(name)
        if found is None:
            return None
        values = {}
        for name, text in found.groupdict().items():
            if name in FROM_ONE:
                values[FROM_ONE[name]] = str(int(text) - 1)
                continue
            owner, forms = _field(name)
            values[owner] = next((value for value in forms if text in forms[value]), text)
        return values

    def render(self, values: Mapping[str, str]) -> str | None:
        """Returns the name with these values; None where the family cannot write one of them."""

        def written(found: re.Match[str]) -> str:
            if found[1] in FROM_ONE:
                return str(int(values[FROM_ONE[found[1]]]) + 1)
            owner, forms = _field(found[1])
            return forms[values[owner]][0] if forms else values[owner]

        try:
            return re.sub(r"\{(\w+)\}", written, self._text) or None
        except KeyError:
            return None


@cache
def _field(name: str) -> tuple[str, dict[str, list[str]]]:
    """Returns whose value stands in a field, and how each is written; nothing for one of `ANY`."""
    if name in ANY:
        return name, {}
    owner, forms = FIELDS[name]
    values = FIELDS[owner][1].split()
    return owner, dict(zip(values, (form.split("/") for form in forms.split()), strict=False))


def _group(name: str) -> str:
    """Returns the group of a pattern that reads a field."""
    if name in FROM_ONE:
        return rf"(?P<{name}>[1-9]\d*)"
    _, forms = _field(name)
    return f"(?P<{name}>{'|'.join(chain(*forms.values())) or ANY[name]})"


Rows = tuple[tuple[str, str], ...]
"""Pairs of this package's name and a family's."""

BLOCK = "layer{stage}.{block}."
"""This package's names of the tensors in a block begin so."""


def prefixed(own: str, theirs: str, *rows: tuple[str, str]) -> Rows:
    """Returns rows with what stands in front of their names on each side."""
    return tuple((own + first, theirs + second) for first, second in rows)


@dataclass(frozen=True)
class Format:
    """Translates a family's names.

    Attributes:
        family: as messages call it.
        stems: names that the first convolution of a trunk may have; one of the first block's where
            that name says nothing.
        marks: names of which one must be there too, where others have the same stem.
        heads: names of heads beside a trunk, in a family that follows this package.
        rows: this package's name, and the family's.
        follows: whether names in no row are this package's.
        trunk: what a trunk's names begin with, in a family that does not follow this package.
        junk: names that training programs of the family write beside the weights.
        fuses_norms: whether norms may come without statistics, which are in their affine part.
        networks: called with what shapes say of a network; returns fields of `Architecture` that
            all networks with these names have, also those that no tensor shows.
    """

    family: str
    stems: tuple[str, ...]
    rows: Rows = ()
    marks: tuple[str, ...] = ()
    follows: bool = False
    heads: str = ""
    trunk: tuple[str, ...] = ()
    junk: str = ""
    fuses_norms: bool = False
    networks: Callable[[Architecture], Mapping[str, Any]] | None = None

    @cached_property
    def _templates(self) -> list[tuple[Template, Template]]:
        return [(Template(own), Template(theirs)) for own, theirs in self.rows]

    def to_own(self, name: str, kind: str = "bn") -> str | None:
        """Returns this package's name; None where it has none. The norms are of a kind, `bn` or
        `gn`, where the family's name does not say it.
        """
        for own, theirs in self._templates:
            if (values := theirs.parse(name)) is not None:
                return own.render({"kind": kind, **values})
        return name if self.follows else None

    def from_own(self, name: str) -> str | None:
        """Returns the family's name; None where it has none."""
        for own, theirs in self._templates:
            if (values := own.parse(name)) is not None:
                return theirs.render(values)
        return name if self.follows else None

    def presupposes(self, found: Architecture) -> Architecture | None:
        """Returns the network that these names belong to, of which shapes say what was found; None
        where the names say no more.
        """
        return replace(found, **self.networks(found)) if self.networks else None
