"""Files in each format: what they say, what they compute, and what keeps them from their names."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from helpers import drawn, quick, randomise, small
from torch._inductor import config as inductor

from resnext_backbones import ResNeXt, ResNeXtClassifier
from resnext_backbones.errors import InputError, RunError
from resnext_backbones.export import compare, to_aoti
from resnext_backbones.export.facts import Facts
from resnext_backbones.export.formats import FORMATS
from resnext_backbones.export.program import MADE_WITH
from resnext_backbones.export.source import subject_from
from resnext_backbones.export.subject import Subject
from resnext_backbones.export.write import default_out, paths_for, write
from resnext_backbones.io import atomic_files
from resnext_backbones.models import Architecture
from resnext_backbones.variants import VARIANTS
from resnext_backbones.weights.preprocessing import BGR
from resnext_backbones.weights.publishers import Crop

pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
pytest.importorskip("openvino", reason="OpenVINO is not installed")

SIZES = [(1, 64, 64), (3, 45, 67), (2, 160, 144), (4, 32, 32)]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "REPEATS", 1)
    monkeypatch.setattr(
        "resnext_backbones.export.write.sizes_for",
        lambda _, least: [*SIZES[:3], (4, least, least)],
    )


def subject(cls: type[ResNeXt] = ResNeXt, **options) -> Subject:
    network = small(cls, **options)
    said = {"variant": "small", **network.architecture.to_metadata()}
    return subject_from(network, said, Facts(BGR, Crop(48, 64)), "")


WRITTEN = [(name, cls) for name in FORMATS for cls in (ResNeXt, ResNeXtClassifier)]
QUICK = [("onnx", ResNeXtClassifier), *((name, ResNeXt) for name in ("onnx", "pt2", "openvino"))]


@pytest.mark.parametrize("both", quick(WRITTEN, QUICK), ids=lambda b: f"{b[0]} {b[1].__name__}")
def test_a_file_says_what_it_is_and_computes_what_the_network_does(
    both: tuple[str, type[ResNeXt]], tmp_path: Path
) -> None:
    name, cls = both
    given = subject(cls)
    (done,) = write(given, paths_for(tmp_path / "net", [name], overwrite=False))
    assert done.path.name == f"net{FORMATS[name].suffix}"
    assert [row.size for row in done.rows] == SIZES
    assert max(row.error for row in done.rows) < 1e-5
    assert {path.name for path in tmp_path.iterdir()} <= {
        path.name for path in FORMATS[name].files(done.path)
    }
    said = FORMATS[name].writer().metadata(done.path)
    assert said["format"] == name
    assert given.metadata.items() <= said.items()
    assert Architecture.from_metadata(said) == given.reference.architecture
    pixels = json.loads(said["preprocessing"])
    assert (pixels["order"], pixels["mean"]) == ("BGR", list(BGR.mean))
    assert pixels["crop"] == (None if cls is ResNeXt else Crop(48, 64)._asdict())
    outputs = json.loads(said["outputs"])
    strides = [4, 8, 16, 32] if cls is ResNeXt else [None]
    assert [output["stride"] for output in outputs] == strides


def test_a_file_of_other_weights_does_not_get_its_name(tmp_path: Path) -> None:
    given = subject()
    with torch.no_grad():
        given.network.layer3[0].conv2.weight[0, 0, 1, 1] += 0.05
    for name in ("onnx", "pt2"):
        with pytest.raises(RunError, match="differs from PyTorch by"):
            write(given, paths_for(tmp_path / "net", [name], overwrite=False))
    assert not list(tmp_path.iterdir())


def test_a_batch_that_is_not_free_is_seen(tmp_path: Path, monkeypatch) -> None:
    given = subject()
    images = torch.zeros(MADE_WITH[0], 3, *MADE_WITH[1:])
    fixed = torch.export.export(given.network, (images,))
    monkeypatch.setattr("resnext_backbones.export.write.program_of", lambda _: fixed)
    with pytest.raises(RunError, match=r"fails on images of 1 x 3 x 64 x 64"):
        write(given, paths_for(tmp_path / "net", ["onnx"], overwrite=False))
    assert not list(tmp_path.iterdir())


def test_a_failure_without_words_is_named() -> None:
    def fail() -> None:
        raise ValueError

    with pytest.raises(RunError, match=r"^ONNX Runtime: fails on 8 x 8: ValueError$"):
        compare.called(fail, "ONNX Runtime: fails on 8 x 8")


def test_metadata_that_are_not_in_the_file_are_missed(tmp_path: Path, monkeypatch) -> None:
    from resnext_backbones.export import to_pt2

    def without_pixels(*given: object) -> None:
        *rest, said = given
        whole(*rest, {**said, "preprocessing": ""})

    whole = to_pt2.write
    monkeypatch.setattr(to_pt2, "write", without_pixels)
    with pytest.raises(RunError, match="the file does not say preprocessing"):
        write(subject(), paths_for(tmp_path / "net", ["pt2"], overwrite=False))
    assert not list(tmp_path.iterdir())


def test_what_stands_in_the_way_is_said_first(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "net.bin").touch()
    with pytest.raises(InputError, match=r"net\.bin: there is a file already; --overwrite"):
        paths_for(tmp_path / "net.xml", ["openvino"], overwrite=False)
    with pytest.raises(InputError, match=r"is a name of onnx, and the formats are onnx, pt2"):
        paths_for(tmp_path / "net.onnx", ["onnx", "pt2"], overwrite=False)
    with pytest.raises(InputError, match="is a folder"):
        paths_for(tmp_path, ["onnx"], overwrite=False)
    with pytest.raises(InputError, match=r"--out .*net\.bin is a file; name a folder"):
        paths_for(tmp_path / "net.bin" / "more" / "net", ["onnx"], overwrite=False)
    with pytest.raises(InputError, match=r"--out n+: the name is too long"):
        paths_for(Path(250 * "n"), ["onnx"], overwrite=False)
    twice = paths_for(tmp_path / "net.onnx", ["onnx", "onnx"], overwrite=False)
    assert twice == {"onnx": tmp_path / "net.onnx"}
    monkeypatch.setenv("CXX", "/none/g++")
    monkeypatch.setenv("PATH", "")
    with (
        inductor.patch({"cpp.cxx": ("/none/g++",)}),
        pytest.raises(InputError, match=r"format aoti: .* compiles with a C\+\+ compiler"),
    ):
        paths_for(tmp_path / "net", ["aoti"], overwrite=False)
    monkeypatch.setattr("resnext_backbones.export.extra.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r'needs onnx, .*"resnext_backbones\[export\]"'):
        paths_for(tmp_path / "net", ["onnx"], overwrite=False)


COMPILER = """#!/bin/sh
case "$*" in *--version*) echo "g++ (GCC) 13.2.0"; exit 0;; esac
echo "In file included from net.cpp:1:" >&2
echo "net.cpp:1:10: fatal error: Python.h: No such file or directory" >&2
exit 1
"""


def test_a_compiler_that_fails_is_named_with_what_it_says(tmp_path: Path, monkeypatch) -> None:
    compiler = tmp_path / "g++"
    compiler.write_text(COMPILER)
    compiler.chmod(0o755)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    program = torch.export.export(torch.nn.ReLU(), (torch.zeros(2),))
    with inductor.patch({"cpp.cxx": (str(compiler),)}):
        to_aoti.check()
        with pytest.raises(InputError, match=r"compiler .*g\+\+ fails: .*Python\.h: No such file"):
            to_aoti.write(program, subject(), tmp_path / "net.aoti.pt2", {})


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("torchvision/resnext50_32x4d.v2", "resnext50_32x4d.v2"),
        ("work_dirs/run/epoch_3.pth", "epoch_3"),
        ("imagenet.pth.tar", "imagenet"),
        ("work_dirs/run.2", "run.2"),
    ],
)
def test_a_file_is_called_as_its_source_where_nobody_says_it(source: str, name: str) -> None:
    assert default_out(source) == Path(name)


def test_files_beside_one_another_come_together_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "net.xml"
    for content in ("one", "two"):
        with atomic_files(path) as temporary:
            temporary.write_text(content)
            temporary.with_suffix(".bin").write_text(content)
        assert [p.read_text() for p in (path, path.with_suffix(".bin"))] == [content] * 2
    with suppress(KeyError), atomic_files(path) as temporary:
        temporary.write_text("three")
        raise KeyError
    assert sorted(p.read_text() for p in tmp_path.iterdir()) == ["two", "two"]


FAMILY = {
    "resnext26_32x4d": "everywhere",
    "resnext29_8x64d": "everywhere",
    "resnext26ts": "everywhere",
    "seresnext26t_32x4d": "everywhere",
    "eca_resnext26ts": "everywhere",
    "gcresnext26ts": "everywhere",
    "bat_resnext26ts": "onnx",
    "seresnextaa101d_32x8d": "everywhere",
    "legacy_seresnext26_32x4d": "everywhere",
    "skresnext50_32x4d": "everywhere",
    "cspresnext50": "everywhere",
    "eca_botnext26ts_256": "everywhere",
    "regnety_002": "everywhere",
}
"""A network of each part, and where it goes."""


@pytest.mark.whole
@pytest.mark.parametrize("variant", FAMILY)
def test_the_whole_family_goes_to_onnx_and_openvino(variant: str, tmp_path: Path) -> None:
    architecture = VARIANTS[variant]
    cut = {"blocks": tuple(1 for _ in architecture.blocks)}
    if architecture.spatial == "BoT":
        cut = {}
    with torch.device("meta"):
        network = drawn(ResNeXt, **{**architecture.to_dict(), **cut})
    given = subject_from(randomise(network), {"variant": variant}, Facts(None, None), "")
    write(given, paths_for(tmp_path / "net", ["onnx"], overwrite=False))
    paths = paths_for(tmp_path / "net", ["openvino"], overwrite=False)
    if FAMILY[variant] == "everywhere":
        write(given, paths)
    else:
        with pytest.raises(RunError, match=r"OpenVINO: (fails )?on images of"):
            write(given, paths)


@pytest.mark.whole
@pytest.mark.parametrize(
    "options", [{"norm_kind": "group", "norm_groups": 4}, {"convolution": "standardised"}]
)
def test_norms_that_cannot_be_fused_are_written_as_they_are(options, tmp_path: Path) -> None:
    given = subject(**options)
    assert given.note.startswith("norms stay, since they cannot be fused: conv1, ")
    write(given, paths_for(tmp_path / "net", ["onnx", "openvino", "pt2"], overwrite=False))
