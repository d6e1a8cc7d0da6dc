"""Images as people have them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import CIFAR10, ImageFolder

pytest.importorskip("mmengine", reason="MMEngine is not installed")

from resnext_backbones.errors import InputError
from resnext_backbones.tasks.classification.sources import (
    cifar,
    flat_folder,
    folder_a_class,
    read_class_list,
)


def test_folders_are_read_as_torchvision_reads_them(coloured: Path) -> None:
    theirs, own = ImageFolder(coloured / "train"), folder_a_class(coloured / "train")
    assert own.classes == theirs.classes
    assert list(zip(own.names, own.labels, strict=True)) == theirs.samples
    assert own.open(3).size == (48, 40)


def test_what_tools_leave_is_no_class_and_no_image(
    coloured: Path, tmp_path: Path, monkeypatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("resnext_backbones.tasks.classification.sources.log_warning", said.append)
    image = coloured / "train/red/0.jpg"
    kept = ["blue/0.jpg", "red/1.jpg", "red/in/2.png"]
    left = [".ipynb_checkpoints/0.jpg", "__MACOSX/red/0.jpg", "red/._0.jpg", "red/@eaDir/0.jpg"]
    for name in (*kept, *left):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.open(image).save(tmp_path / name)
    found = folder_a_class(tmp_path)
    assert found.classes == ["blue", "red"]
    assert found.names == [str(tmp_path / name) for name in kept]
    assert len(said) == 1
    assert all(Path(name).parts[0] in said[0] or name in said[0] for name in left)
    (truth := tmp_path / "truth.txt").write_text("1\n")
    assert flat_folder(tmp_path / "red", truth, truth).names == [str(tmp_path / "red/1.jpg")]


def test_a_class_list_chooses_and_orders(coloured: Path, tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("white the colour of snow\n\nblue\n")
    found = folder_a_class(coloured / "train", path)
    assert found.classes == ["white", "blue"]
    assert len(found) == 24
    assert all(found.classes[n] in name for n, name in zip(found.labels, found.names, strict=True))


def test_a_folders_name_may_have_spaces(coloured: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("golden retriever", "golden eagle", "tabby")):
        (folder := tmp_path / name).mkdir()
        Image.open(coloured / "train/red/0.jpg").save(folder / f"{number}.png")
    (path := tmp_path / "list.txt").write_text("tabby the cat\ngolden retriever\ngolden eagle \n")
    found = folder_a_class(tmp_path, path)
    assert found.classes == ["tabby", "golden retriever", "golden eagle"]
    assert [found.classes[label] for label in found.labels] == sorted(found.classes)


def test_names_that_are_numbers_are_not_counted(coloured: Path, tmp_path: Path) -> None:
    """Where a line may be both, there is no telling."""
    (images := tmp_path / "images").mkdir()
    for number in range(3):
        Image.open(coloured / "val/red/0.jpg").save(images / f"{number}.png")
    (classes := tmp_path / "classes.txt").write_text("0\n1\n2\n")
    truth = tmp_path / "truth.txt"
    for text, labels in (("0 1 2", [0, 1, 2]), ("3 1 2", [2, 0, 1]), ("2 1 1", None)):
        truth.write_text(text.replace(" ", "\n"))
        if labels:
            assert flat_folder(images, truth, classes).labels == labels
        else:
            with pytest.raises(InputError, match="may be names of classes, which are numbers, or"):
                flat_folder(images, truth, classes)


def test_a_flat_folder_with_a_list(coloured: Path, tmp_path: Path) -> None:
    order, lines, numbers = ["red", "blue"], [], []  # which is not that of sorted folders
    (images := tmp_path / "images").mkdir()
    for number, name in enumerate(["red", "blue", "red"]):
        Image.open(coloured / "val" / name / "0.jpg").save(images / f"image_{number}.JPEG")
        lines.append(name)
        numbers.append(str(order.index(name) + 1))
    (truth := tmp_path / "truth.txt").write_text("")
    (counted := tmp_path / "counted.txt").write_text("red the first\nblue\n")
    (classes := tmp_path / "classes.txt").write_text("blue\nred\n")
    for text in (lines, numbers):
        truth.write_text("\n".join(text) + "\n")
        for class_list in (None, classes):  # as the folders to train on are numbered
            found = flat_folder(images, truth, class_list, counted)
            assert found.classes == ["blue", "red"]
            assert found.labels == [1, 0, 1]
        assert flat_folder(images, truth, counted).labels == [0, 1, 0]
        assert flat_folder(images, truth, counted, classes).classes == ["red", "blue"]
    truth.write_text("1\n2\n")
    with pytest.raises(InputError, match=r"2 lines for 3 images"):
        flat_folder(images, truth, classes)
    truth.write_text("1\n2\n9\n")
    with pytest.raises(InputError, match=r"not known: 9"):
        flat_folder(images, truth, classes)
    with pytest.raises(InputError, match=r"needs ground_truth_classes"):
        flat_folder(images, truth)
    counted.write_text("red\ngreen\n")
    with pytest.raises(InputError, match=r"differ: blue, green"):
        flat_folder(images, truth, classes, counted)


def test_cifar_as_torchvision_stores_it(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    pixels = np.arange(2 * 3072, dtype="uint32").reshape(2, 3072).astype("uint8")
    for name, _ in CIFAR10.train_list + CIFAR10.test_list:
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": [3, 9]}))
    names = [f"class {number}" for number in range(10)]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda _: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    train, test = (cifar(tmp_path, "cifar10", train=flag) for flag in (True, False))
    assert (len(train), len(test), train.classes) == (10, 2, names)
    assert test.labels == [3, 9]
    expected = pixels[1].reshape(3, 32, 32).transpose(1, 2, 0)
    assert np.array_equal(np.asarray(test.open(1)), expected)
    with pytest.raises(InputError, match=r"class list some\.txt: chooses among folders"):
        cifar(tmp_path, "cifar10", train=True, class_list="some.txt")


def test_cifar_as_folders(coloured: Path, tmp_path: Path) -> None:
    (tmp_path / "train").symlink_to(coloured / "train")
    (tmp_path / "test").symlink_to(coloured / "val")
    assert len(cifar(tmp_path, "cifar10", train=True)) == 96
    assert len(cifar(tmp_path, "cifar10", train=False)) == 40
    (path := tmp_path / "list.txt").write_text("white\nblue\n")
    assert cifar(tmp_path, "cifar10", train=True, class_list=path).classes == ["white", "blue"]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent: there is no such folder"):
        folder_a_class(tmp_path / "absent")
    with pytest.raises(InputError, match=r"no folder for a class"):
        folder_a_class(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no image of empty"):
        folder_a_class(tmp_path)
    (tmp_path / "list.txt").write_text("empty\nb\na\n")
    with pytest.raises(InputError, match=r"no folder for a, b"):
        folder_a_class(tmp_path, tmp_path / "list.txt")
    with pytest.raises(InputError, match=r"neither torchvision's CIFAR-10"):
        cifar(tmp_path, "cifar10", train=True)
    (tmp_path / "list.txt").write_text("a\nb\na\n")
    with pytest.raises(InputError, match=r"names a twice"):
        read_class_list(tmp_path / "list.txt")
