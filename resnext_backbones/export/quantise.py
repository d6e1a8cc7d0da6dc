"""Weights and activations get 8 bits, by the post-training quantisation of each runtime."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnext_backbones.data.pixels import open_image
from resnext_backbones.errors import InputError
from resnext_backbones.export.extra import need
from resnext_backbones.export.images import array_of, preprocessing_of, some_of
from resnext_backbones.export.subject import INPUT, Subject
from resnext_backbones.export.to_openvino import RT_INFO
from resnext_backbones.weights.publishers import WHOLE

Batches = Callable[[], Iterator[NDArray[np.float32]]]
"""Returns the images of calibration, one by one, from the first."""

USED = 256
"""So many images calibrate, unless another number is asked for."""


@dataclass(frozen=True)
class Calibration:
    """Holds the real images that show a quantisation which values occur.

    Attributes:
        folder: where they were found, at any depth.
        files: those that are used.
        said: what becomes of an image.
    """

    folder: Path
    files: Sequence[Path]
    said: Mapping[str, Any]

    @classmethod
    def of(cls, folder: Path, subject: Subject, most: int = USED) -> Calibration:
        """Returns at most so many images of a folder; InputError: there are none, or it is not
        known which pixels the network expects, or which crop.
        """
        said = preprocessing_of(subject, "--int8")
        return cls(folder, some_of(folder, "--int8", most), said)

    def __str__(self) -> str:
        return f"{len(self.files)} images of {self.folder.name}"

    def batches(self) -> Iterator[NDArray[np.float32]]:
        """Yields (1, C, H, W), image by image."""
        return (array_of(open_image(str(file)), self.said) for file in self.files)

    def draw(self, subject: Subject, size: tuple[int, int, int]) -> NDArray[np.float32]:
        """Returns some of them (N, C, H, W), resized, to compare a size with."""
        n, height, width = size
        whole = {**self.said, "crop": WHOLE}
        files = [self.files[i % len(self.files)] for i in range(n)]
        images = (open_image(str(file)).resize((width, height)) for file in files)
        return np.concatenate([array_of(image, whole) for image in images])


def onnx(path: Path, batches: Batches, metadata: dict[str, str]) -> None:
    """Puts the quantised network in the place of one in float32, by ONNX Runtime: static, in QDQ
    format, weights by channel; and what a file says of itself, which its tools leave out.
    """
    import onnx as library
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.images = batches()

        def get_next(self) -> dict[str, Any] | None:
            images = next(self.images, None)
            return None if images is None else {INPUT: images}

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        prepared = Path(folder) / "prepared.onnx"
        with contextlib.redirect_stdout(io.StringIO()):
            quant_pre_process(path, prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared,
                path,
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                extra_options={"CalibMovingAverage": False},
            )
    model = library.load(path)
    library.helper.set_model_props(model, metadata)
    library.save(model, path)


def openvino(path: Path, batches: Batches, metadata: dict[str, str]) -> None:
    """Puts the quantised network in the place of one in float32, by NNCF, at its default preset."""
    need("nncf")
    import nncf
    import openvino as library

    images = list(batches())
    model = library.Core().read_model(path)
    quantised = nncf.quantize(model, nncf.Dataset(images), subset_size=len(images))
    for key, value in metadata.items():
        quantised.set_rt_info(value, [RT_INFO, key])
    temporary = path.with_name(f"int8-{path.name}")
    library.save_model(quantised, temporary, compress_to_fp16=False)
    for suffix in (".bin", path.suffix):
        temporary.with_suffix(suffix).replace(path.with_suffix(suffix))


QUANTISERS: dict[str, Callable[[Path, Batches, dict[str, str]], None]] = {
    "onnx": onnx,
    "openvino": openvino,
}
"""Formats that have a quantisation of their own."""


def check_quantised(formats: Sequence[str]) -> None:
    """Raises InputError where a format has none, or its library is missing."""
    if without := [name for name in formats if name not in QUANTISERS]:
        raise InputError(
            f"--int8: {', '.join(without)} has no post-training quantisation of its own; the "
            f"formats {' and '.join(QUANTISERS)} have"
        )
    if "openvino" in formats:
        need("nncf")
