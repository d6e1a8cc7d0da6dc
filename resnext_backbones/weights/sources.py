"""Finds what a user names as the source of weights: a path, an address, or an alias."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import unquote

from resnext_backbones.errors import InputError
from resnext_backbones.weights.download import download, from_hub, hash_of, path_of
from resnext_backbones.weights.errors import DownloadError, WeightsError
from resnext_backbones.weights.files import SHARDS
from resnext_backbones.weights.registry import REGISTRY, Published, row_named

HUB = "hf://"
ADDRESSES = ("https://", "http://")
FILE = "file://"
SUFFIXES = (".pth", ".pt", ".pkl", ".safetensors", ".bin", ".t7", ".th", ".tar")
"""Files end so, and no alias does."""

SAVED = ("model.safetensors", "pytorch_model.bin")
"""`save_pretrained` calls the weights in its folder so, and so did earlier ones."""

LAST = "last_checkpoint"
"""The folder of a run has this file, with the name of its newest checkpoint."""

SCHEMES = {
    "open-mmlab://": "open-mmlab/{}",
    "mmcls://": "mmpretrain/{}",
    "torchvision://": "torchvision/{}.v1",
}
"""MMEngine's names for published weights stand for these aliases."""


class Named(Protocol):
    """Stands for a member of torchvision's enumerations of weights, which has their address."""

    @property
    def url(self) -> str: ...


Source = str | Path | Named


def plain_name(source: Source) -> str | Path:
    """Returns the address of weights that torchvision has a name for; all else as it is."""
    return source if isinstance(source, str | Path) else source.url


def locate(source: Source) -> Path:
    """Returns the file of a source, downloaded if need be: a path, of a file or of a folder of
    `save_pretrained`; an address (http, https, file);
    `hf://OWNER/REPOSITORY/FILE` on the Hugging Face Hub; torchvision's name for weights; or an
    alias of `registry.REGISTRY`.

    Raises FileNotFoundError where there is no file at a path, and WeightsError where there is no
    such alias, or the file cannot be had.
    """
    source = plain_name(source)
    if str(source).startswith(FILE):  # in its place: a copy would stay as the file was once
        host, _, there = unquote(str(source).removeprefix(FILE)).partition("/")
        if host not in ("", "localhost"):
            raise WeightsError(f"weights {source}: is of another host; {FILE}/FOLDER/FILE is here")
        source = Path(f"/{there}")
    text, path = _alias(source), Path(source)
    if text.startswith(HUB):
        return _from_hub(text)
    if row := row_of(source):
        return _file_of(row)
    if text.startswith(ADDRESSES):
        return download([text])
    if "://" in text:
        raise WeightsError(
            f"weights {source}: use a path, an alias of docs/weights.md, or an address that "
            f"begins with one of {', '.join((*ADDRESSES, FILE, HUB))}"
        )
    if text != str(source):  # an alias of MMEngine's: the error names those that are close
        return _file_of(row_named(text))
    if path.is_file():
        return path
    if path.is_dir():
        return _in_folder(path)
    named = isinstance(source, Path) or "/" not in text or text.endswith(SUFFIXES)
    if named or path.exists():
        raise FileNotFoundError(f"weights {source}: there is no such file")
    return _file_of(row_named(text))


def _in_folder(folder: Path) -> Path:
    """Returns the weights in a folder that `save_pretrained` wrote; of another folder it raises
    WeightsError, which names what could be meant.
    """
    for name in SAVED:
        if (folder / name).is_file():
            return folder / name
    note = folder / LAST
    last = folder / Path(note.read_text(encoding="utf-8").strip()).name if note.is_file() else None
    if last and last.is_file():
        raise WeightsError(f"weights {folder}: is the folder of a run; name its checkpoint, {last}")
    if index := next(folder.glob("*.index.json"), None):
        raise WeightsError(f"weights {folder}: has {index.name}; {SHARDS}")
    files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    raise WeightsError(
        f"weights {folder}: is a folder without {' or '.join(SAVED)}; name a file of weights"
        + (f", such as {files[-1]}" if files else "")
    )


def place_of(source: str | Path) -> Path | None:
    """Returns where the file of an alias or an address lies once it is downloaded; None of a path,
    and of a file on the Hugging Face Hub, which that library keeps.
    """
    if row := row_of(source):
        source = row.urls[0]
    return path_of(str(source)) if str(source).startswith(ADDRESSES) else None


def _file_of(row: Published) -> Path:
    """Returns the file of a row, from the first of its addresses that has it: those of the Hugging
    Face Hub come last, since that library keeps its files elsewhere.
    """
    hub = tuple(url for url in row.urls if url.startswith(HUB))
    failures: list[WeightsError] = []
    if plain := tuple(url for url in row.urls if url not in hub):
        try:
            return download(plain, row.sha256)
        except DownloadError as error:
            failures.append(error)
    for url in hub:
        try:
            return _from_hub(url)
        except WeightsError as error:
            failures.insert(0, error)
    raise DownloadError("\n".join(map(str, failures)))


def _from_hub(address: str) -> Path:
    owner, repository, name = [*address.removeprefix(HUB).split("/", 2), "", ""][:3]
    if not (owner and repository and name):
        raise WeightsError(f"weights {address}: use {HUB}OWNER/REPOSITORY/FILE")
    return from_hub(f"{owner}/{repository}", name)


def _alias(source: str | Path) -> str:
    """Returns the alias that one of MMEngine's names stands for; any other source as it is."""
    text = str(source)
    for scheme, alias in SCHEMES.items():
        if text.startswith(scheme):
            return alias.format(text.removeprefix(scheme))
    return text


def row_of(source: Source) -> Published | None:
    """Returns the row of an alias or of the address of a file of one; None for anything else."""
    source = plain_name(source)
    if Path(source).exists():
        return None
    text = _alias(source)
    return REGISTRY.get(text) or next((r for r in REGISTRY.values() if text in r.urls), None)


def row_of_file(path: Path) -> Published | None:
    """Returns the row whose file this is, by its name and hash; None for any other file."""
    for row in REGISTRY.values():
        if PurePosixPath(row.file).name == path.name and row.sha256:
            return row if hash_of(path).startswith(row.sha256) else None
    return None


def said_in(
    places: Iterable[Mapping[str, Any]],
    read: Callable[[Mapping[str, Any]], Any],
    source: object,
    what: str = "pixel normalisation",
) -> Any:
    """Returns what the first of some metadata says, as `read` finds it there; raises WeightsError
    where that is none that can be.
    """
    try:
        return next(filter(None, map(read, places)), None)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"weights {source}: its {what}: {error}") from error


def agreed(option: str, given: Any, held: Any, source: object) -> Any:
    """Returns what a source says, or what is given where it says nothing; raises InputError where
    they differ.
    """
    if given is not None and held is not None and given != held:
        raise InputError(
            f"--{option} {given}: {source} says {held}; leave out --{option}, which is for files "
            "that do not say it"
        )
    return given if held is None else held
