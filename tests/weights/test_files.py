"""Files are read whole, and nothing in them is run."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import crafted
import hostile
import numpy as np
import pytest
import torch
import torch7
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_once import MadeOnce
from safetensors.torch import save

from resnext_backbones.weights import WeightsError
from resnext_backbones.weights.files import read_file, read_metadata

ATTEMPT = """
import json, resource, sys, time
import helpers
import hostile
from pathlib import Path
from resnext_backbones import ResNeXt, load_weights
from resnext_backbones.weights import WeightsError

torch_alone = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model, found = ResNeXt(helpers.SMALL), {}
before = {k: v.clone() for k, v in model.state_dict().items()}
for name, path in json.loads(Path(sys.argv[1]).read_text()).items():
    start = time.process_time()
    try:
        load_weights(model, path)
        message = None
    except WeightsError as error:
        message = str(error)
    found[name] = {"message": message, "seconds": time.process_time() - start}
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - torch_alone
    found[name]["grown"] = grown * 1024
    found[name]["same"] = all((v == before[k]).all() for k, v in model.state_dict().items())
print(json.dumps(found))
"""


@pytest.fixture(scope="session")
def attempts(made_once: MadeOnce) -> dict[str, dict]:
    """What came of loading each hostile file, in a process whose memory is watched."""
    return json.loads((made_once("hostile", load_all) / "found.json").read_text())


def load_all(folder: Path) -> None:
    paths = {}
    for number, (name, make) in enumerate(hostile.MAKERS.items()):
        path = folder / f"{number}.pth"
        path.write_bytes(make())
        paths[name] = str(path)
    huge = folder / "huge.pth"
    with huge.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(2**43)  # takes no room on the disk
    paths["larger than memory"] = str(huge)
    (folder / "paths.json").write_text(json.dumps(paths))
    done = subprocess.run(
        [sys.executable, "-c", ATTEMPT, str(folder / "paths.json")],
        cwd=folder,
        env={"PYTHONPATH": f"{Path(hostile.__file__).parent}:{Path(__file__).parents[2]}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert not (folder / hostile.MARK).exists()
    (folder / "found.json").write_text(done.stdout)


@pytest.mark.parametrize("name", [*hostile.MAKERS, "larger than memory"])
def test_a_hostile_file_is_refused_by_name(attempts: dict[str, dict], name: str) -> None:
    attempt = attempts[name]
    assert attempt["message"] is not None
    assert attempt["message"].startswith("weights /")
    assert attempt["same"]
    assert attempt["seconds"] < 10
    assert attempt["grown"] < 2**30


@pytest.mark.parametrize("kind", ["zip", "old", "pickle"])
@pytest.mark.parametrize("attack", hostile.ATTACKS)
def test_what_could_run_code_is_named(attempts: dict[str, dict], kind: str, attack: str) -> None:
    named = hostile.ATTACKS[attack][0]
    message = attempts[f"{kind}: {attack}"]["message"]
    assert named in message
    assert "could run code" in message


@pytest.mark.parametrize(
    "name",
    [
        "zip: a tensor larger than its storage",
        "old: a storage that does not follow",
        "torch7: a tensor larger than its storage",
    ],
)
def test_a_tensor_is_no_larger_than_what_it_is_made_of(attempts, name: str) -> None:
    assert re.search(r"a tensor of shape \(.*\) made of \d+ bytes", attempts[name]["message"])


TWELVE = torch.arange(12.0).reshape(3, 4)

SEEDS = {
    "zip": crafted.modern({"conv1.weight": TWELVE, "epoch": 3}),
    "old": crafted.legacy({"conv1.weight": TWELVE, "epoch": 3}),
    "pickle": pickle.dumps({"conv1_w": np.arange(12.0).reshape(3, 4), "lr": np.float64(3)}, 2),
    "safetensors": save({"conv1.weight": TWELVE}),
    "torch7": torch7.dump(
        {"conv1": torch7.module("nn.Linear", weight=torch.arange(12.0).reshape(3, 4))}
    ),
}


@pytest.mark.parametrize("kind", SEEDS)
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(kind: str, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(SEEDS[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        length = data.draw(st.sampled_from([0, 1, 1, 1, 4, 64]))
        content[at : at + length] = data.draw(st.binary(max_size=8))
        content = content or bytearray(b"x")
    path = tmp_path / "weights"
    path.write_bytes(content)
    with suppress(WeightsError):
        read_file(path)


@pytest.mark.parametrize("kind", SEEDS)
def test_the_undamaged_ones_are_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(SEEDS[kind])
    found = next(value for key, value in read_file(path).items() if key.startswith("conv1"))
    assert torch.equal(found.float(), TWELVE)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["f4", ">f4", "f2", "i8", "u1", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_all_kinds(tmp_path: Path, protocol: int, dtype: str, order: str) -> None:
    array = np.asarray(np.arange(24).reshape(2, 3, 4), dtype=dtype, order=order)
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps({"model": {"a": array}}, protocol))
    found = read_file(path)["model"]["a"]
    assert np.array_equal(found.numpy(), array)


def test_arrays_that_python_2_wrote(tmp_path: Path) -> None:
    """Bytes are text there, and the array's module has its old name."""
    text = (
        b"\x80\x02}q\x00U\x07conv1_wq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02"
        b"cnumpy\nndarray\nq\x03K\x00\x85q\x04U\x01bq\x05\x87q\x06Rq\x07(K\x01K\x01\x85q\x08"
        b"cnumpy\ndtype\nq\tU\x02f4q\nK\x00K\x01\x87q\x0bRq\x0c(K\x03U\x01<q\rNNNJ\xff\xff\xff"
        b"\xffJ\xff\xff\xff\xffK\x00tq\x0eb\x89U\x04\x00\x00\x80\xbfq\x0ftq\x10bs."
    )
    path = tmp_path / "weights.pkl"
    path.write_bytes(text)
    assert read_file(path)["conv1_w"].tolist() == [-1.0]


def test_metadata_of_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(save({"a": torch.ones(1)}, metadata={"variant": "x"}))
    assert read_metadata(path) == {"variant": "x"}
