"""Damaged labels end in a message, or every one of them is accounted for."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("supervision", reason="supervision is not installed")
pytest.importorskip("hypothesis", reason="hypothesis is not installed")

from data.formats import trees
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from resnext_backbones.data.formats.convert import to_coco
from resnext_backbones.data.formats.labels import Account, Source
from resnext_backbones.errors import InputError

WRITERS = {
    "yolo": lambda coco, root: trees.write_yolo(coco, root, segment=True),
    "voc": trees.write_voc,
    "labelme": trees.write_labelme,
}
LABELS = {"yolo": "*.txt", "voc": "*.xml", "labelme": "*.json"}

WORDS = """- 1e999 NaN Infinity -1 0 99999999999999999999 3 12 . 0.7 1.5 true null [] {} " < >
    </object> &amp; &x; ] , circle mask rectangle bndbox robndbox polygon group_id \ufeff ü"""
PIECES = st.sampled_from(["", " ", "\n", "\0", *WORDS.split()])
EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from([0, 0, 1, 3, 12]), PIECES), min_size=1, max_size=3
)


@pytest.fixture(scope="module", params=WRITERS)
def tree(
    request: pytest.FixtureRequest, coco_tiny: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, Path]:
    """A format, where its labels are, and the folder of both."""
    root = tmp_path_factory.mktemp("damage") / request.param
    return request.param, WRITERS[request.param](coco_tiny, root), root


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # each example reads a whole tree: none is looked for that is shorter
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(edits=EDITS, which=st.integers(0, trees.LIMIT - 1))
def test_no_label_is_lost(
    tree: tuple[str, Path, Path], edits: list[tuple[float, int, str]], which: int
) -> None:
    kind, source, root = tree
    path = sorted(root.rglob(LABELS[kind]))[which]
    text = whole = path.read_text()
    for place, length, piece in edits:
        at = int(place * len(text))
        text = text[:at] + piece + text[at + length :]
    (out := root.parent / "out").mkdir(exist_ok=True)
    try:
        path.write_text(text)
        with suppress(InputError):
            done = to_coco(kind, Source(source), out / "coco.json")
            content = json.loads((out / "coco.json").read_text())
            assert len(content["annotations"]) == done.account.objects
            left = 0 if "imagePath" in text or "shapes" in text or kind != "labelme" else 1
            assert len(content["images"]) == trees.LIMIT - left
    finally:
        path.write_text(whole)
        shutil.rmtree(out)


def test_an_account_that_does_not_balance_is_a_fault() -> None:
    account = Account(labels=2, objects=1)
    with pytest.raises(AssertionError, match="2 labels were read, 1 are accounted for"):
        account.check()
