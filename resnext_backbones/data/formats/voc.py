"""Pascal VOC's labels: an XML file for each image, whose boxes count pixels from 1."""

from __future__ import annotations

import glob
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse
from supervision.dataset.formats.pascal_voc import detections_from_xml_obj, parse_polygon_points

from resnext_backbones.data.formats.labels import (
    Account,
    LabelledImage,
    LabelledObject,
    Labels,
    Source,
    around,
    box_of,
    check_place,
    corners_of,
    read_files,
    read_text,
    rounded,
)
from resnext_backbones.errors import InputError

FLAGS = ("difficult", "truncated", "occluded")
"""They go into the annotations; what is difficult is a crowd there as well."""


def read(
    source: Source, account: Account
) -> tuple[tuple[str, ...] | None, Iterator[LabelledImage]]:
    """Returns the names of the classes, where they are given, and the images one by one."""
    folder, images = _folders(source)
    read, make = partial(_read, folder=images, account=account), partial(_object, account=account)
    return source.classes, read_files(_listed(source, folder), read, make, source, account)


def _folders(source: Source) -> tuple[Path, Path]:
    if not source.path.is_dir():
        raise InputError(f"{source.path}: there is no such folder; name the one of the XML files")
    inner = source.path / "Annotations"
    folder = inner if inner.is_dir() else source.path
    beside = folder.parent / "JPEGImages"
    return folder, source.images or (beside if beside.is_dir() else folder)


def _listed(source: Source, folder: Path) -> list[Path]:
    """Returns the XML files of a split, or all of them."""
    if source.split is None:
        files = sorted(folder.rglob("*.xml"))
        if not files:
            raise InputError(f"{folder}: has no XML files")
        return files
    lists = folder.parent / "ImageSets" / "Main"
    path = lists / f"{source.split}.txt"
    if not path.is_file():
        known = " or ".join(p.stem for p in sorted(lists.glob("*.txt")) if "_" not in p.stem)
        raise InputError(f"{path}: there is no such list; --split takes {known or 'none here'}")
    lines = filter(None, map(str.strip, read_text(path).splitlines()))
    whole = ((line, folder / f"{line}.xml") for line in lines)
    # Lists of one class have a second column.
    return [file if file.is_file() else folder / f"{line.split()[0]}.xml" for line, file in whole]


def _read(path: Path, folder: Path, account: Account) -> Labels | None:
    try:
        root = parse(path).getroot()
    except (OSError, ParseError, DefusedXmlException, ValueError, LookupError) as error:
        account.problem(str(path), f"cannot be read as XML: {error}")
        return None
    labels = [
        (f"{path} object {number} ({element.findtext('name', 'no name').strip()})", element)
        for number, element in enumerate(root.findall("object"), 1)
    ]
    size = _side(root.findtext("size/width")), _side(root.findtext("size/height"))
    return Labels(labels, _image_of(root, path, folder, account), size)


def _side(text: str | None) -> int:
    """Returns a side in pixels; 0 where there is none."""
    try:
        return max(int(float(text or 0)), 0)
    except (ValueError, OverflowError):
        return 0


def _image_of(root: Element, path: Path, folder: Path, account: Account) -> Path | None:
    """Returns the image of a file: the one that it names, else the one of its own name."""
    named = folder / Path((root.findtext("filename") or "").replace("\\", "/")).name
    own = [p for p in sorted(folder.glob(f"{glob.escape(path.stem)}.*")) if p.suffix != ".xml"]
    if named != folder and named.is_file():
        if own and named not in own:
            account.problem(str(path), f"names {named.name}, and there is {own[0].name} as well")
            return None
        return named
    if len(own) == 1:
        account.notice("no image of the name in the XML: the one of the XML's name", str(path))
        return own[0]
    account.problem(
        str(path), f"its image {named.name} is not in {folder}; IMAGES names the folder"
    )
    return None


def _object(
    element: Element, where: str, size: tuple[int, int], account: Account
) -> LabelledObject:
    outlines = [_outline(polygon) for polygon in element.findall("polygon")]
    for polygon in element.findall("polygon"):  # of which the library would make a mask
        element.remove(polygon)
    for part in element.findall("part"):
        account.notice("parts of an object (head, hand, ...): left out, the object is kept", where)
        element.remove(part)
    turned = element.find("robndbox")
    if turned is not None and element.find("bndbox") is None:
        outlines.append(_corners(turned))
        name, box = (element.findtext("name") or "").strip(), around(outlines[-1])
        account.notice("turned box: a polygon of its corners", where)
    else:
        root = Element("annotation")
        root.append(element)
        read, names = detections_from_xml_obj(root, [], size)
        name, (left, top, right, bottom) = names[0].strip(), map(float, read.xyxy[0])
        if left < 0 or top < 0:
            account.notice("box that begins at 0, where VOC counts from 1: at the edge", where)
            left, top = max(left, 0.0), max(top, 0.0)
        box = box_of(left, top, right, bottom)
    for place in (box, *map(around, outlines)):
        check_place(place, size)
    if not name:
        raise ValueError("has no name of its class")
    flags = {flag: _flag(element, flag) for flag in FLAGS if element.find(flag) is not None}
    if difficult := bool(flags.get("difficult")):
        account.notice("difficult: a crowd, neither trained on nor scored", where)
    return LabelledObject(name, box, outlines, crowd=difficult, others=dict(flags))


def _outline(polygon: Element) -> list[float]:
    """Returns the coordinates of a polygon, from 0 on."""
    count = len(polygon.findall(".//*"))
    if count < 6 or count % 2:
        raise ValueError(f"its polygon has {count} coordinates; give three points or more")
    return rounded((parse_polygon_points(polygon) - 1).ravel())


def _corners(turned: Element) -> list[float]:
    """Returns those of roLabelImg's box: centre, sides, and an angle in radians."""
    names = ("cx", "cy", "w", "h", "angle")
    numbers = [float(turned.findtext(name) or "nan") for name in names]
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"its robndbox needs the numbers {', '.join(names)}")
    return corners_of(*numbers)


def _flag(element: Element, name: str) -> int:
    text = (element.findtext(name) or "0").strip().lower()
    if text not in ("0", "1", "true", "false"):
        raise ValueError(f"its {name} is {text!r}; use 0 or 1")
    return int(text in ("1", "true"))
