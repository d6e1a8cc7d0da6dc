"""A variant with weights, or weights alone, become what is exported."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path

from resnext_backbones.errors import InputError
from resnext_backbones.export.extra import need
from resnext_backbones.export.facts import Facts, facts_of
from resnext_backbones.export.metadata import made_by, outputs_text, preprocessing_text
from resnext_backbones.export.subject import Output, Subject
from resnext_backbones.models import Architecture, ResNeXt, ResNeXtClassifier
from resnext_backbones.variants import VARIANTS
from resnext_backbones.weights.checkpoint import Checkpoint
from resnext_backbones.weights.download import hash_of
from resnext_backbones.weights.files import read_file
from resnext_backbones.weights.load import load_state
from resnext_backbones.weights.preprocessing import Preprocessing
from resnext_backbones.weights.publishers import Crop
from resnext_backbones.weights.sources import SAVED, locate
from resnext_backbones.weights.write import (
    architecture_of,
    check_whole,
    metadata_of,
    network_of,
)

RANDOM = "none"
"""In the place of weights: the values that the network draws."""

LEAST = {"BoT": 33}
"""Pixels a side by what stands in a 3x3 convolution's place; 32 without it. ONNX Runtime cannot
interpolate tables of positions to a map of one pixel."""


def subject_of(
    name: str,
    *,
    weights: str | None = None,
    prefix: str = "",
    pixels: Preprocessing | None = None,
    crop: Crop | str | None = None,
    trunk: bool = False,
    out_indices: Sequence[int] | None = None,
) -> Subject:
    """Returns a trunk or a classifier with its weights, and what its file says.

    Args:
        name: of a variant, whose weights are `weights`; or the source of weights that say what they
            are of: an alias, a file, an address, or the folder of a run, whose newest checkpoint is
            taken.
        weights: any source of weights; `none` is random values; None: `name` is the source.
        prefix: as of `load_weights`.
        pixels, crop: what the network expects, where the source does not say it.
        trunk: leave out a classifier's head.
        out_indices: the feature maps of a trunk, 0 to 3; None is all of them.

    Raises:
        InputError: what is given does not go together.
        WeightsError, FileNotFoundError: as `load_weights`.
    """
    variant, source = _named(name, weights)
    trunk = trunk or out_indices is not None
    if source == RANDOM:
        assert variant is not None
        made = VARIANTS[variant]
        said = {"variant": variant, **made.to_metadata(), "source": "random values"}
        network = _built(made, None if trunk else 1000, out_indices)
        return subject_from(network, said, Facts(pixels, crop), "")
    file = file_of(source)
    content = read_file(file)
    held = Checkpoint.of(content, prefix=prefix, source=source)
    check_whole(held, source)
    known = architecture_of(source, file, content, held, variant)
    facts = facts_of(source, file, content, held.prefix, pixels, crop)
    said = metadata_of(source, file, variant or held.variant, known, facts.pixels)
    made = network_of(held.state, said)
    head = None if trunk else held.state.get("fc.weight")
    network = _built(made, None if head is None else len(head), out_indices)
    load_state(network, content, source, prefix=prefix, head=head is not None)
    said = {
        "variant": said["variant"],
        **network.presupposed().to_metadata(),
        "source": said.get("source", Path(source).name if "://" not in source else source),
        "sha256": hash_of(file),
        **({"licence": said["licence"]} if "licence" in said else {}),
    }
    assumed = "" if known else "assumed, since the source does not say it: what no tensor shows"
    return subject_from(network, said, facts, assumed)


def _named(name: str, weights: str | None) -> tuple[str | None, str]:
    """Returns a variant, if one is named, and the source of weights."""
    if name == RANDOM:
        raise InputError(f"{name}: is no network; name a variant, with --weights {RANDOM}")
    if name in VARIANTS:
        if weights is None:
            raise InputError(
                f"{name}: is a network; --weights says whose weights, a file, a run or an alias of "
                f"`resnext list`; --weights {RANDOM} writes random values"
            )
        return name, weights
    if weights is not None:
        raise InputError(
            f"{name}: no variant is called so, and --weights {weights} needs one; leave out one of "
            "the two: weights say what they are of"
        )
    return None, name


def file_of(source: str) -> Path:
    """Returns the file of a source; of the folder of a run its newest checkpoint."""
    folder = Path(source)
    if folder.is_dir() and not any((folder / name).is_file() for name in SAVED):
        need("mmengine", extra="export,pretrain")
        from resnext_backbones.engine.checkpoints import newest_checkpoint

        try:
            found = newest_checkpoint(folder)
        except InputError as error:
            raise InputError(
                f"{source}: no checkpoint of this run is known to be whole; name the file of one"
            ) from error
        if found:
            return found
    try:
        return locate(source)
    except FileNotFoundError as error:
        raise InputError(str(error)) from error


def _built(made: Architecture, classes: int | None, out_indices: Sequence[int] | None) -> ResNeXt:
    try:
        if classes is not None:
            return ResNeXtClassifier(made, num_classes=classes)
        return ResNeXt(made, out_indices=out_indices)
    except ValueError as error:
        raise InputError(str(error)) from error


def subject_from(network: ResNeXt, said: dict[str, str], facts: Facts, note: str) -> Subject:
    """Returns a network as it is exported, fused where it can be.

    Args:
        said: of the network and its weights, for the metadata; the rest is added.
        note: what was taken for granted, in words, or "".
    """
    network = network.eval().requires_grad_(False)
    classifier = isinstance(network, ResNeXtClassifier)
    outputs = (
        (Output("logits", network.fc.out_features),)
        if isinstance(network, ResNeXtClassifier)
        else tuple(
            Output(f"layer{i + 1}", channels, stride)
            for i, channels, stride in zip(
                network.out_indices, network.channels, network.strides, strict=True
            )
        )
    )
    try:
        fused = network.fuse()
    except ValueError as error:
        fused = copy.deepcopy(network)
        note = "; ".join(filter(None, (note, f"norms stay, since they cannot be fused: {error}")))
    least = LEAST.get(network.architecture.spatial, 32)
    metadata = {
        **said,
        "least": str(least),
        "task": "classifier" if classifier else "trunk",
        "outputs": outputs_text(outputs),
        **({"classes": json.dumps(facts.classes)} if classifier else {}),
        "preprocessing": preprocessing_text(facts.pixels, facts.crop if classifier else None),
        **made_by(),
    }
    channels = network.architecture.in_channels
    return Subject(fused, network, outputs, metadata, channels, least, note, facts.crop)
