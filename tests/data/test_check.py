"""What `resnext check-data` says of annotations and images, alone and against each other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("rich", reason="rich is not installed")

from resnext_backbones import cli
from resnext_backbones.data.annotations import annotation_file
from resnext_backbones.data.check import check_data
from resnext_backbones.errors import InputError
from resnext_backbones.reports.data_check import show_check

IMAGES = 6


def write(root: Path, split: str, change: Callable[[dict[str, Any]], object]) -> Path:
    """Changes the annotations of a split."""
    path = annotation_file(root, split)
    change(content := json.loads(path.read_text()))
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def tree(coco_tiny: Path, tmp_path: Path) -> Path:
    """The first images of COCO, as copies, without crowds and in categories that both have."""
    root = tmp_path / "tree"
    (root / "annotations").mkdir(parents=True)
    for split in ("train2017", "val2017"):
        content = json.loads(annotation_file(coco_tiny, split).read_text())
        content["images"] = content["images"][:IMAGES]
        shown = {image["id"] for image in content["images"]}
        content["categories"] = [{"id": 1, "name": "thing"}]
        content["annotations"] = [
            {**a, "category_id": 1}
            for a in content["annotations"]
            if a["image_id"] in shown and not a["iscrowd"]
        ]
        annotation_file(root, split).write_text(json.dumps(content))
        (root / split).mkdir()
        for image in content["images"]:
            shutil.copyfile(
                coco_tiny / split / image["file_name"], root / split / image["file_name"]
            )
    return root


@pytest.fixture
def said() -> dict[str, str]:
    """The messages of the last check, by their rules."""
    return {}


@pytest.fixture
def check(
    tree: Path, tmp_path: Path, said: dict[str, str], capsys
) -> Callable[..., tuple[int, str, dict[str, str]]]:
    """Runs the command; returns its exit status, what it printed, and each rule's outcome."""

    def run(*options: object, both: bool = False) -> tuple[int, str, dict[str, str]]:
        arguments: list[object] = [annotation_file(tree, "train2017"), tree / "train2017", *options]
        arguments.append("--overwrite")  # what the call before found
        if both:
            arguments += [
                "--val",
                annotation_file(tree, "val2017"),
                "--val-images",
                tree / "val2017",
            ]
        out = tmp_path / "found.json"
        status = 0
        try:
            cli.main(["check-data", *map(str, arguments), "--json", str(out)])
        except SystemExit as ended:
            status = int(ended.code or 0)
        text = capsys.readouterr().out
        found = json.loads(out.read_text())
        rows = [*(row for file in found["files"] for row in file["findings"]), *found["between"]]
        assert found["refused"] == (status == 1)
        assert all(row["message"] for row in rows)
        said.clear()
        said.update({row["rule"]: row["message"] for row in rows})
        return status, " ".join(text.split()), {row["rule"]: row["outcome"] for row in rows}

    return run


def test_what_is_whole_is_accepted(check, tree: Path) -> None:
    status, text, rules = check("--decode", "--masks", both=True)
    assert (status, rules) == (0, {})
    assert f"│ {IMAGES}; 0 without objects │" in text
    count = len(json.loads(annotation_file(tree, "train2017").read_text())["annotations"])
    assert f"categories │ 1: thing {count}" in text
    assert text.endswith(str(annotation_file(tree, "val2017")))
    assert " accepted: " in text


def test_images_are_compared_with_their_annotations(check, said, tree: Path) -> None:
    folder = tree / "train2017"
    first, second, third, fourth, fifth, _ = sorted(folder.iterdir())
    first.unlink()
    second.write_bytes(b"no image")
    with Image.open(third) as image:
        image.resize((50, 40)).save(third)
    with Image.open(fourth) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(fourth, exif=exif)
    fifth.write_bytes(fifth.read_bytes()[:-2000])
    shutil.copyfile(fourth, folder / "more.jpg")
    status, text, rules = check()
    assert status == 1
    refused = {"image missing", "image unreadable", "image of another size"}
    counted = {"image as it lies in its file", "file not listed"}
    assert rules == {**dict.fromkeys(refused, "refused"), **dict.fromkeys(counted, "counted")}
    assert "refused, for image missing, image unreadable, image of another size: " in text
    gone = {first.name, second.name, third.name}

    def leave_out(content: dict[str, Any]) -> None:
        content["images"] = [i for i in content["images"] if i["file_name"] not in gone]
        shown = {image["id"] for image in content["images"]}
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] in shown]

    write(tree, "train2017", leave_out)  # so that only what is cut off is left
    assert check()[0] == 0
    status, _, rules = check("--decode")
    assert status == 1
    assert rules["image unreadable"] == "refused"
    assert fifth.name in said["image unreadable"]


def test_training_is_compared_with_validation(check, said, tree: Path) -> None:
    def rename(content: dict[str, Any], *names: str) -> None:
        content["categories"] = [{"id": n, "name": name} for n, name in enumerate(names, 1)]
        content["annotations"][0]["category_id"] = len(names)

    mine = next((tree / "train2017").iterdir())
    write(tree, "val2017", lambda c: shutil.copyfile(
        mine, tree / "val2017" / c["images"][0]["file_name"]
    ))  # fmt: skip
    with Image.open(mine) as image:
        width, height = image.size
    write(tree, "val2017", lambda c: c["images"][0].update(width=width, height=height))
    write(tree, "train2017", lambda c: rename(c, "thing", "other"))
    write(tree, "val2017", lambda c: rename(c, "other", "thing"))
    status, _, rules = check(both=True)
    assert rules["image in both"] == rules["another order"] == "counted"
    write(tree, "train2017", lambda c: rename(c, "thing", "third"))
    status, _, rules = check(both=True)
    assert status == 1
    assert rules["category not learned"] == "refused"
    assert rules["category not measured"] == "counted"
    assert "lacks: other;" in said["category not learned"]
    assert "lacks: third;" in said["category not measured"]


def test_names_alone_say_what_may_be_in_both(check, said, tree: Path) -> None:
    write(tree, "val2017", lambda c: c.update(
        images=json.loads(annotation_file(tree, "train2017").read_text())["images"], annotations=[]
    ))  # fmt: skip
    _, _, rules = check("--val", annotation_file(tree, "val2017"))
    assert rules["image in both"] == "counted"
    assert f"(and {IMAGES - 1} more)" in said["image in both"]


def test_each_fault_is_a_row_with_its_first_example(check, tree: Path) -> None:
    def damage(content: dict[str, Any]) -> None:
        first, second, third = content["annotations"][:3]
        first["bbox"] = [1, 2, -3, 4]
        del second["iscrowd"]
        third["category_id"] = "[/bold]"  # as in rich's markup

    write(tree, "train2017", damage)
    status, text, rules = check()
    assert status == 1
    assert rules["bbox of negative size"] == "refused"
    assert rules["iscrowd"] == "filled in"
    assert "[1, 2, -3, 4]" in text
    assert "[/bold]" in text


def test_a_list_of_images_alone(check, tree: Path) -> None:
    write(tree, "train2017", lambda c: c.pop("annotations"))
    next((tree / "train2017").iterdir()).unlink()
    status, text, rules = check("--unannotated")
    assert (status, rules) == (1, {"image missing": "refused"})
    assert f"images │ {IMAGES}; " in text


def test_whatever_a_file_holds_is_shown(tmp_path: Path) -> None:
    pytest.importorskip("mmengine", reason="MMEngine is not installed")
    hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
    import annotated
    from data.test_annotations_fuzz import QUICK, apply, damage

    for name in ("train", "val", "images"):
        (tmp_path / name).mkdir()
    val = annotated.write(tmp_path / "val", annotated.content())
    shown = []

    @hypothesis.settings(QUICK, max_examples=30, phases=[hypothesis.Phase.generate])
    @hypothesis.given(hypothesis.strategies.lists(damage(), min_size=1, max_size=4))
    def run(changes: list[Any]) -> None:
        content = annotated.content()
        for change in changes:
            apply(content, change)
        path = annotated.write(tmp_path / "train", content)
        with suppress(InputError):  # no file in COCO's format
            checked = check_data(path, tmp_path / "images", val=val, masks=True, say=print)
            shown.append(show_check(checked))
            json.dumps(checked.as_dict(), allow_nan=False)

    run()
    assert len(shown) > 20


@pytest.mark.parametrize("kind", ["yolo", "voc", "labelme"])
def test_another_format_is_written_and_checked(
    kind: str, coco_tiny: Path, tmp_path, capsys
) -> None:
    pytest.importorskip("supervision", reason="supervision is not installed")
    from data.formats import trees

    root, out = tmp_path / kind, tmp_path / "out.json"
    writers = {"voc": trees.write_voc, "labelme": trees.write_labelme}
    if kind == "yolo":
        source = trees.write_yolo(coco_tiny, root, segment=False)
    else:
        source = writers[kind](coco_tiny, root)
    cli.main(["check-data", "--from", kind, str(source), "--out", str(out)])
    text = " ".join(capsys.readouterr().out.split())
    labels = len(json.loads(out.read_text())["annotations"])
    assert f"objects, in {trees.LIMIT} images │ {labels} │" in text
    assert f"images │ {trees.LIMIT}; 0 without objects" in text
    assert "accepted" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.json"], "annotation file none.json: there is no such file"),
        (["a.json", "--out", "b.json"], "--out: only with --from"),
        (["--from", "yolo", "a"], "--from yolo: --out names the file that is to be written"),
        (
            ["--from", "voc", "a", "--out", "b"],
            "a: there is no such folder; name the one of the XML",
        ),
        (["--from", "labelme", "a", "--out", "b"], "name the one of the JSON files"),
        (["--from", "yolo", "a", "--out", "b"], "a: there is no such file or folder"),
        (["a.json", "--json", __file__], "is there already; --overwrite replaces it"),
        (["--from", "voc", "a", "--out", __file__], "is there already; --overwrite replaces it"),
        (["a.json", "--val-images", "b"], "--val-images: of which annotations?"),
        (["--from", "yolo", "a", "--out", "b", "--classes", "c"], "c: cannot be read as text"),
    ],
)
def test_what_is_wrong_ends_with_one_message(arguments: list[str], message: str, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["check-data", *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
