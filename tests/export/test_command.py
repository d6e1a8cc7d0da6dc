"""The command: what it takes for a source, what it refuses, and what its report says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from export.files import CLASSES, written
from PIL import Image
from tooling import ROOT

from resnext_backbones import cli
from resnext_backbones.commands import export as commands_export
from resnext_backbones.data.pixels import open_image
from resnext_backbones.errors import InputError
from resnext_backbones.export import compare
from resnext_backbones.export.accuracy import Validation
from resnext_backbones.export.facts import crop_of
from resnext_backbones.export.formats import FORMATS
from resnext_backbones.export.images import array_of, preprocessing_of
from resnext_backbones.export.quantise import Calibration
from resnext_backbones.export.source import file_of, subject_of
from resnext_backbones.weights.preprocessing import BGR, RGB
from resnext_backbones.weights.publishers import Crop
from resnext_backbones.weights.recorded import CROP

pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
pytest.importorskip("openvino", reason="OpenVINO is not installed")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "REPEATS", 1)
    monkeypatch.setattr(compare, "OTHERS", ((3, 45, 67), (2, 64, 96)))
    monkeypatch.setattr(compare, "USUAL", (1, 64, 64))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return written(tmp_path / "net.safetensors", BGR, Crop(48, 64))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for i in range(2 * CLASSES):
        folder = tmp_path / "images" / f"class{i % CLASSES}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (9, 12, 3), np.uint8)
        Image.fromarray(pixels).resize((96, 80)).save(folder / f"{i}.png")
    return tmp_path / "images"


def refused(capsys: pytest.CaptureFixture, *arguments: object, status: int = 2) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main(["export", *map(str, arguments)])
    assert ended.value.code == status
    return capsys.readouterr().err


def test_a_source_is_a_variant_or_weights(weights: Path, tmp_path: Path, capsys) -> None:
    out = ["--format", "pt2", "--out", tmp_path / "out"]
    assert "is a network; --weights says whose" in refused(capsys, "resnext26_32x4d", *out)
    said = refused(capsys, weights, "--weights", weights, *out)
    assert "no variant is called so" in said
    assert "no such file" in refused(capsys, tmp_path / "none.pth", *out)
    assert "increasing stage indices" in refused(capsys, weights, "--out-indices", 7, *out)
    assert "from 32 pixels on" in refused(capsys, weights, "--size", "16x64", *out)
    said = refused(capsys, weights, "--pixels", "RGB", *out)
    assert f"--pixels {RGB}: {weights} says {BGR}" in said
    said = refused(capsys, weights, "--format", "pt2", "--int8", tmp_path, "--out", tmp_path / "o")
    assert "pt2 has no post-training quantisation" in said
    assert not [path for path in tmp_path.iterdir() if path != weights]


def test_what_is_no_option_of_the_source_is_refused(weights: Path, tmp_path: Path, capsys) -> None:
    out = ["--format", "pt2", "--out", tmp_path / "out"]
    for option, value in (("images", tmp_path / "none"), ("set", "min_size=9"), ("norm-eps", 0)):
        said = refused(capsys, weights, f"--{option}", value, *out)
        assert f"--{option}: is for whole detectors; add --detector" in said
    said = refused(capsys, weights, "--int8-images", 8, *out)
    assert "--int8-images: is how many images of --int8 are used" in said
    said = refused(capsys, "none", *out)
    assert "none: is no network; name a variant, with --weights none" in said
    assert list(tmp_path.iterdir()) == [weights]


def test_a_run_is_read_with_mmengine_or_its_files_are_named(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("mmengine", reason="MMEngine is not installed")
    path = tmp_path / "epoch_1.pth"
    path.touch()
    with pytest.raises(InputError, match=r"no checkpoint .* whole; name the file of one$"):
        file_of(str(tmp_path))
    (tmp_path / "last_checkpoint").write_text(path.name)
    assert file_of(str(tmp_path)) == path
    monkeypatch.setattr("resnext_backbones.export.extra.find_spec", lambda _: None)
    with pytest.raises(
        InputError, match=r'needs mmengine, .*"resnext_backbones\[export,pretrain\]"'
    ):
        file_of(str(tmp_path))


def test_pixels_that_are_not_known_are_never_guessed(tmp_path: Path, images: Path, capsys) -> None:
    silent = written(tmp_path / "silent.safetensors", None)
    subject = subject_of(str(silent))
    assert json.loads(subject.metadata["preprocessing"]) == "unknown"
    for option in ("--val", "--int8"):
        said = refused(capsys, silent, option, images, "--out", tmp_path / "out")
        assert f"{option}: the weights do not say which pixels they expect" in said
    cli.main(["export", str(silent), "--format", "pt2", "--out", str(tmp_path / "out")])
    assert "pixels: not known; --pixels says it" in capsys.readouterr().out
    subject = subject_of(str(silent), pixels=RGB, crop=Crop(224, 256))
    said = preprocessing_of(subject, "--val")
    assert (said["order"], said["crop"].resize) == ("RGB", 256)


def test_a_crop_that_is_not_known_is_never_guessed(tmp_path: Path, images: Path, capsys) -> None:
    silent = written(tmp_path / "silent.safetensors", BGR)
    for options in (["--val", images], ["--int8", images], ["--trunk", "--int8", images]):
        said = refused(capsys, silent, *options, "--out", tmp_path / "out")
        assert f"{options[-2]}: the weights do not say what is cut out of an image" in said
        assert "--crop 224/256, or --crop whole" in said
    said = refused(capsys, silent, "--trunk", "--crop", "whole", "--out", tmp_path / "out")
    assert "--crop: a trunk takes any size, and only --int8 needs a crop of it" in said


def test_a_trunk_is_quantised_with_the_images_that_its_network_is_for(
    weights: Path, tmp_path: Path, images: Path
) -> None:
    def calibrated(source: Path, **options) -> tuple[int, ...]:
        subject = subject_of(str(source), trunk=True, **options)
        return next(Calibration.of(images, subject, 1).batches()).shape

    assert calibrated(weights) == (1, 3, 48, 48)
    silent = written(tmp_path / "silent.safetensors", BGR)
    assert calibrated(silent, crop="whole") == (1, 3, 80, 96)


def test_the_command_offers_the_table_of_formats() -> None:
    assert tuple(FORMATS) == commands_export.FORMATS


@pytest.mark.parametrize(
    ("recipe", "crop"),
    [
        ("cifar/cifar10_quick", "whole"),
        ("imagenet/paper", Crop(interpolation="bicubic")),
        ("imagenet/a1", Crop(224, 235, "bicubic")),
    ],
)
def test_a_runs_file_says_which_crop_its_evaluation_has(recipe: str, crop: Crop | str) -> None:
    pytest.importorskip("mmengine", reason="MMEngine is not installed")
    from resnext_backbones.engine.config import read_config
    from resnext_backbones.tasks.classification.publish import crop_text

    assert crop_of({CROP: crop_text(read_config(recipe))}) == crop


def test_a_trunk_has_the_maps_that_are_asked_for(weights: Path) -> None:
    subject = subject_of(str(weights), out_indices=(1, 3))
    named = [(o.name, o.channels, o.stride) for o in subject.outputs]
    assert named == [("layer2", 128, 8), ("layer4", 512, 32)]
    assert json.loads(subject.metadata["preprocessing"])["crop"] is None
    assert subject.metadata["source"] == "net.safetensors"
    assert len(subject.metadata["sha256"]) == 64


@pytest.mark.parametrize("name", [pytest.param("openvino", marks=pytest.mark.whole), "onnx"])
def test_eight_bits_with_real_images(name, weights: Path, images: Path, tmp_path, capsys) -> None:
    if name == "openvino":
        pytest.importorskip("nncf", reason="NNCF is not installed")
    arguments = ["--int8", images, "--val", images, "--int8-images", 8, "--out", tmp_path / "net"]
    cli.main(["export", str(weights), "--format", name, *map(str, arguments)])
    printed = capsys.readouterr().out
    assert "top-1: " in printed
    assert "of PyTorch " in printed
    path = tmp_path / f"net{FORMATS[name].suffix}"
    said = FORMATS[name].writer().metadata(path)
    assert said["precision"] == "int8"
    assert said["calibrated_on"] == "8 images of images"
    binary = path if name == "onnx" else path.with_suffix(".bin")
    parameters = sum(p.numel() for p in subject_of(str(weights)).network.parameters())
    if name == "openvino":
        assert binary.stat().st_size < 2 * parameters
    else:
        assert b"DequantizeLinear" in path.read_bytes()


def test_other_classes_than_the_networks_are_refused(weights, images: Path, tmp_path, capsys):
    (images / "more").mkdir()
    Image.new("RGB", (64, 64)).save(images / "more" / "a.png")
    out = ["--out", tmp_path / "net"]
    said = refused(capsys, weights, "--val", images, *out)
    assert f"has {CLASSES + 1} classes, and the network tells {CLASSES} apart" in said
    said = refused(capsys, weights, "--trunk", "--val", images, *out)
    assert "accuracy is a classifier's" in said
    names = [f"class{i}" for i in range(CLASSES)]
    named = written(tmp_path / "named.safetensors", BGR, Crop(48, 64), names)
    shutil.rmtree(images / names[0])
    said = refused(capsys, named, "--val", images, *out)
    assert "has folders that are none of the network's classes: more; its classes: class0, " in said


def test_images_are_labelled_as_in_training_and_not_by_the_order_of_folders(
    tmp_path: Path, images: Path
) -> None:
    names = [f"class{i}" for i in reversed(range(CLASSES))]
    named = written(tmp_path / "named.safetensors", BGR, Crop(48, 64), names)
    images = Validation.of(images, subject_of(str(named))).images
    assert images.classes == names
    assert all(
        Path(name).parent.name == names[label]
        for name, label in zip(images.names, images.labels, strict=True)
    )


NAMES = dict.fromkeys(FORMATS, ("ash", "box", "elm", "fir", "oak", "yew")) | {"onnx": ()}
"""A file of each format names its classes like this; one does not know them."""

BLOCKED = {
    "onnx": ("torch", "resnext_backbones"),
    "onnx_detector": ("torch", "resnext_backbones"),
    "openvino": ("torch", "resnext_backbones"),
    "pt2": ("resnext_backbones",),
    "aoti": ("resnext_backbones",),
}
RUN = """
import runpy, sys
_, blocked, *sys.argv = sys.argv
for name in blocked.split(","):
    sys.modules[name] = None
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def turned(image: Path) -> Path:
    """An image as of a camera that was held upright, which EXIF says."""
    exif = Image.Exif()
    exif[274] = 6
    path = image.with_name("turned.png")
    Image.open(image).save(path, exif=exif)
    return path


def ran(name: str, path: Path, image: Path) -> list[str]:
    """What an example prints, in a process that cannot import what it does without."""
    file = ROOT / "examples" / f"run_{name}.py"
    command = [sys.executable, "-c", RUN, ",".join(BLOCKED[name]), file, path, image]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.whole) if n == "aoti" else n for n in FORMATS]
)
def test_the_examples_find_what_the_network_finds(name, images: Path, tmp_path):
    from resnext_backbones.export.write import paths_for, write

    image = turned(sorted(images.rglob("*.png"))[0])
    named = written(tmp_path / "named.safetensors", BGR, Crop(48, 64), NAMES[name])
    subject = subject_of(str(named))
    (done,) = write(subject, paths_for(tmp_path / "net", [name], overwrite=False))
    head, *top = ran(name, done.path, image)
    assert head == f"logits (1, {CLASSES})"
    said = preprocessing_of(subject, "")
    array = array_of(open_image(str(image)), said)
    assert array.shape == (1, 3, 48, 48)
    with torch.inference_mode():
        shares = subject.reference(torch.from_numpy(array)).softmax(1)[0]
    names = NAMES[name] or [f"class {i}" for i in range(CLASSES)]
    assert top == [f"{names[i]}: {shares[i]:.1%}" for i in shares.argsort(descending=True)[:5]]


DETECTOR = """
<ir_version: 10, opset_import: ["" : 18]>
sizes (float[1, 3, H, W] images) => (float[1, 4] boxes, int64[1] labels, float[1] scores) {
    edges = Shape <start = 2> (images)
    sides = Cast <to = 1> (edges)
    both = Concat <axis = 0> (sides, sides)
    first = Constant <value = int64[1] {0}> ()
    boxes = Unsqueeze (both, first)
    labels = Constant <value = int64[1] {1}> ()
    scores = Constant <value = float[1] {0.5}> ()
}
"""
"""It finds one box, the height and the width of what it is given."""


def test_the_detectors_example_turns_an_image_as_a_camera_was_held(tmp_path: Path, images: Path):
    import onnx

    model = onnx.parser.parse_model(DETECTOR)
    said = {"outputs": ["boxes", "labels", "scores"], "classes": ["none", "thing"]}
    said["preprocessing"] = {"order": "RGB", "mean": [0, 0, 0], "std": [1, 1, 1]}
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in said.items()})
    onnx.save(model, tmp_path / "detector.onnx")
    image = sorted(images.rglob("*.png"))[0]
    for file, sizes in ((image, "80.0 96.0"), (turned(image), "96.0 80.0")):
        (line,) = ran("onnx_detector", tmp_path / "detector.onnx", file)
        assert line.split() == f"thing 0.500 {sizes} {sizes}".split()


@pytest.mark.parametrize(
    ("pixels", "unknown"), [(None, "which pixels the network expects"), (BGR, "what is cut out")]
)
def test_an_example_guesses_neither_pixels_nor_crop(pixels, unknown, tmp_path, images) -> None:
    from resnext_backbones.export.write import paths_for, write

    subject = subject_of(str(written(tmp_path / "silent.safetensors", pixels)))
    (done,) = write(subject, paths_for(tmp_path / "net", ["onnx"], overwrite=False))
    with pytest.raises(AssertionError, match=f"the file does not say {unknown}"):
        ran("onnx", done.path, sorted(images.rglob("*.png"))[0])
