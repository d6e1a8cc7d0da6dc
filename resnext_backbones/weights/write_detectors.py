"""Writes a whole Faster or Mask R-CNN for another framework."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from resnext_backbones.models.architecture import Architecture
from resnext_backbones.models.options import is_eps, require
from resnext_backbones.weights.checkpoint import EPS
from resnext_backbones.weights.compare import COUNTER
from resnext_backbones.weights.configs import config_section, pixels_in, value_at
from resnext_backbones.weights.detector_arithmetic import for_pixels
from resnext_backbones.weights.detector_eps import batch_norms, eps_of, give_eps
from resnext_backbones.weights.detector_names import (
    BY_COCO_ID,
    CLASS_IDS,
    DETECTRON2,
    LAYOUTS,
    MMDET,
    TORCHVISION,
)
from resnext_backbones.weights.detector_settings import settings_for
from resnext_backbones.weights.detectors import Detector
from resnext_backbones.weights.errors import WeightsError
from resnext_backbones.weights.files import read_file
from resnext_backbones.weights.find import said_of
from resnext_backbones.weights.formats import FORMATS, family_for
from resnext_backbones.weights.identify import STEM
from resnext_backbones.weights.preprocessing import Preprocessing
from resnext_backbones.weights.recorded import pixels_of, recorded_architecture
from resnext_backbones.weights.sources import agreed, locate, said_in
from resnext_backbones.weights.write import (
    WRITERS,
    Writer,
    architecture_of,
    check_whole,
    checked_destination,
    metadata_of,
    network_of,
    trunk_of,
    write_detectron2,
    write_file,
)

State = dict[str, Tensor]

READ_AS = {MMDET: "BGR", TORCHVISION: "RGB"}
"""So a run's config reads images, by the detector's layout."""

ALIGNED = "aligned"
"""In metadata it says that a detector for torchvision wants the pools and anchors of the others."""


@dataclass(frozen=True)
class Converted:
    """Says what was converted.

    Attributes:
        detector: as the file had it.
        held, pixels: the pixels that it expects, and those that the new one expects.
        changed: what was done beside new names, in words.
        settings: of the target, in its words, that no weights say.
    """

    detector: Detector
    held: Preprocessing
    pixels: Preprocessing
    changed: tuple[str, ...]
    settings: str


def convert_detector(
    source: str | Path,
    path: str | Path,
    to: str,
    *,
    pixels: Preprocessing | None = None,
    to_pixels: Preprocessing | None = None,
    class_ids: str = BY_COCO_ID,
    norm_eps: float | None = None,
    prefix: str = "",
    variant: str | None = None,
    overwrite: bool = False,
) -> Converted:
    """Writes a whole Faster or Mask R-CNN with FPN for another framework.

    Values are moved, not changed, but for `to_pixels` of other standard deviations, and for batch
    norms of another eps than 1e-5, which the new one's have.

    Args:
        source: as of `load_weights`.
        path: of the new file, which gets its name when it is whole.
        to: of `LAYOUTS`.
        pixels: what the detector expects; None is what the source says.
        to_pixels: what the new one shall expect; None is the same, as RGB for torchvision, which
            reads no other.
        class_ids: `coco` gives 80 classes the rows of COCO's ids in torchvision's layout, and takes
            90 there for these; `contiguous` lets all classes follow each other.
        norm_eps: of the source's batch norms, where it does not say it; None is 1e-5.
        prefix, variant: as of `convert`.
        overwrite: put the new file in the place of one that is there.

    Raises:
        ValueError: `to` or `class_ids` is none of these, or `norm_eps` no number from 0.
        FileExistsError, FileNotFoundError, InputError: as of `convert`.
        WeightsError: the source is not such a detector, or not a whole one, its pixels are not
            known or cannot become `to_pixels`, or the target has no place for a tensor. Nothing is
            written.
    """
    for name, value, allowed in (("to", to, LAYOUTS), ("class_ids", class_ids, CLASS_IDS)):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    require(norm_eps is None or is_eps(norm_eps), "norm_eps", "a number from 0", norm_eps)
    path = checked_destination(path, overwrite=overwrite)
    file = locate(source)
    content = read_file(file)
    detector = Detector.of(content, prefix=prefix, class_ids=class_ids, source=source)
    trunk = detector.trunk
    check_whole(trunk, source)
    architecture = architecture_of(source, file, content, trunk, variant)
    known = pixels_of(source, file, content, trunk.prefix)
    model = config_section(content, "model") or {}
    if known is None and detector.layout in READ_AS:
        known = said_in([model], partial(pixels_in, read_as=READ_AS[detector.layout]), source)
    held = pixels or known
    if held is None:
        raise WeightsError(
            f"weights {source}: the file does not say which pixels the detector expects, and what "
            "is written depends on it: say it with --pixels (RGB for torchvision's own detectors, "
            "BGR-unscaled for most of Detectron2's). Nothing was written"
        )
    agreed("pixels", pixels, known, source)
    _check_said(detector, held, source, given=known is None)
    wanted = to_pixels or (_as_rgb(held) if to == TORCHVISION else held)
    state, changed = dict(trunk.state), _moved(detector, to, class_ids)
    said = recorded_architecture(file, content, source) or trunk.said
    if norms := batch_norms(state):
        eps, why = eps_of(detector.layout, file, said, norm_eps, source)
        give_eps(state, norms, eps, source)
        changed.append(f"norms: an eps of {eps:g}, {why}")
        architecture = architecture and replace(architecture, eps=EPS)
    try:
        first = next(name for name in STEM if name in state)
        state[first] = for_pixels(state[first], held, wanted)
    except WeightsError as error:
        raise WeightsError(f"weights {source}: {error}. Nothing was written") from None
    if held.order != wanted.order:
        changed.append(f"{first}: channels turned from {held.order} to {wanted.order}")
    if not state[first].equal(trunk.state[first]) and sorted(held.std) != sorted(wanted.std):
        changed.append(f"{first}: scaled from std {held.std} to {wanted.std}, which rounds")
    metadata = metadata_of(source, file, variant or trunk.variant, architecture, wanted)
    metadata |= {"norms": "fused" if trunk.fused else "trained"}
    if said is None and value_at(model, "backbone.style") == "caffe":  # which no tensor shows
        metadata |= replace(network_of(trunk.state, metadata), stride_in_1x1=True).to_metadata()
    aligned = detector.layout != TORCHVISION or bool(
        ALIGNED in said_of(content, trunk.prefix) or model.get(ALIGNED)
    )
    metadata |= {ALIGNED: "True"} if aligned and to == TORCHVISION else {}
    network = network_of(trunk.state, metadata)
    named = _trunk_names(state, to, network, source) | detector.named(to, class_ids)
    settings = settings_for(detector, to, wanted, network, class_ids, rounded=not aligned)
    write_file(named, path, _writer(to, path), metadata)
    return Converted(detector, held, wanted, tuple(changed), settings)


def _as_rgb(pixels: Preprocessing) -> Preprocessing:
    if pixels.order != "BGR":
        return pixels
    return Preprocessing("RGB", pixels.mean[::-1], pixels.std[::-1])


def _check_said(detector: Detector, pixels: Preprocessing, source: object, *, given: bool) -> None:
    """Raises WeightsError where the file itself says other pixels, as old ones of Detectron2 do,
    than were given or are known of it.
    """
    for name, values in (("pixel_mean", pixels.mean), ("pixel_std", pixels.std)):
        said = detector.notes.get(name)
        if said is None:
            continue
        alike = said.numel() == len(values)
        if not alike or not torch.allclose(said.float().flatten(), torch.tensor(values), rtol=1e-3):
            other = (
                f"{pixels} was given: say the right ones with --pixels"
                if given
                else f"its metadata, its config or the table of weights says {pixels}: one is wrong"
            )
            raise WeightsError(
                f"weights {source}: its {name} is {said.flatten().tolist()}, and {other}. Nothing "
                "was written"
            )


def _moved(detector: Detector, to: str, class_ids: str) -> list[str]:
    """Returns what becomes of the classes, in words."""
    before, after = (LAYOUTS[key].background_first for key in (detector.layout, to))
    said = []
    if before and not after:
        said.append("classes: the background goes from first to last, without its boxes and mask")
    if after and not before:
        said.append(
            "classes: the background goes from last to first, with boxes and masks of zeros"
        )
    if detector.dropped and not (after and detector.rows_by_coco_id(class_ids)):
        said.append(
            f"classes: COCO's 80 of 90 rows; the {detector.dropped} of ids that COCO does not use "
            "are left out, and what they scored is shared by the others"
        )
    elif after and detector.rows_by_coco_id(class_ids):
        said.append("classes: COCO's 80 in the 91 rows of its ids; ids without a class never score")
    return said


def _trunk_names(state: State, to: str, network: Architecture, source: object) -> State:
    """Returns a trunk by a target's names, with what stands in front of them.

    A part of the architecture that Detectron2 has no names for has this package's there, as in its
    adapter; what was added to the architecture must have the target's.
    """
    plain = trunk_of(state).keys()
    added = sorted(key for key in state if key not in plain and not key.endswith(COUNTER))
    family = family_for(to, network) if to == DETECTRON2 else MMDET
    names = {key: FORMATS[family].from_own(key) for key in state}
    lacking = [k for k in added if names[k] is None or (to == TORCHVISION)]
    if lacking:
        raise WeightsError(
            f"weights {source}: {LAYOUTS[to].name} has no place for {', '.join(lacking[:5])} of "
            "the trunk (deformable convolutions or plugins). Nothing was written"
        )
    outside, inside = LAYOUTS[to].trunks[0], LAYOUTS[to].trunks[-1]
    if None in names.values():
        return {f"{inside}{key}": value for key, value in state.items()}
    return {f"{outside}{names[key]}": value for key, value in state.items()}


def _write_torchvision(state: State, path: Path, metadata: Mapping[str, str]) -> None:
    # Where the trunk's own module has it: what the file says is of its weights.
    content = OrderedDict(state)
    trunk = LAYOUTS[TORCHVISION].trunks[0].removesuffix(".")
    content._metadata = {trunk: dict(metadata)}  # type: ignore[attr-defined]
    torch.save(content, path)


def _writer(to: str, path: Path) -> Writer:
    if to == TORCHVISION:
        return _write_torchvision
    if to == DETECTRON2 and path.suffix != ".pkl":
        return lambda state, target, metadata: torch.save(
            {"model": state, "meta": dict(metadata)}, target
        )
    return partial(write_detectron2, whole=True) if to == DETECTRON2 else WRITERS[to]
