"""What a user may name as the source of weights: a path, an address, or an alias."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from resnext_backbones.weights.download import download, from_hub, hash_of
from resnext_backbones.weights.errors import DownloadError, WeightsError
from resnext_backbones.weights.files import read_metadata
from resnext_backbones.weights.preprocessing import Preprocessing
from resnext_backbones.weights.registry import REGISTRY, Published, published

HUB = "hf://"

ADDRESSES = ("https://", "http://", "file://")

SCHEMES = {
    "open-mmlab://": "open-mmlab/{}",
    "mmcls://": "mmpretrain/{}",
    "torchvision://": "torchvision/{}.v1",
}
"""MMEngine's names for published weights, and the aliases that they stand for."""


def locate(source: str | Path) -> Path:
    """The file of a source, downloaded if need be.

    Args:
        source: a path; an address (http, https, file); `hf://OWNER/REPOSITORY/FILE` on the
            Hugging Face Hub; or an alias of `weights.registry.REGISTRY`.

    Raises:
        FileNotFoundError: it is a path, and there is no such file.
        WeightsError: there is no such alias, or the file cannot be had.
    """
    text = str(source)
    if text.startswith(HUB):
        owner, _, rest = text.removeprefix(HUB).partition("/")
        repository, _, name = rest.partition("/")
        return from_hub(f"{owner}/{repository}", name)
    if row := row_of(source):
        return _of_row(row)
    if "://" in text:
        _check_scheme(text)
        return download([text])
    if Path(source).exists() or _is_path(source):
        if not Path(source).is_file():
            raise FileNotFoundError(f"weights {source}: there is no such file")
        return Path(source)
    return _of_row(published(text))


def _check_scheme(address: str) -> None:
    """Refuse an address that is none, before a download of it is tried.

    Raises:
        WeightsError: it is one of MMEngine's names that stands for no alias, or of another scheme.
    """
    for scheme, alias in SCHEMES.items():
        if address.startswith(scheme):
            # Raises, and names the aliases that are close.
            published(alias.format(address.removeprefix(scheme)))
    if not address.startswith(ADDRESSES):
        raise WeightsError(
            f"weights {address}: use a path, an alias of docs/weights.md, or an address that "
            f"begins with one of {', '.join((*ADDRESSES, HUB))}"
        )


def row_of(source: str | Path) -> Published | None:
    """The row of an alias or of the address of one of its files; None for anything else."""
    text = str(source)
    if Path(source).exists():
        return None
    for scheme, alias in SCHEMES.items():
        if text.startswith(scheme):
            return REGISTRY.get(alias.format(text.removeprefix(scheme)))
    by_url = (row for row in REGISTRY.values() if text in row.urls)
    return REGISTRY.get(text) or next(by_url, None)


def preprocessing_of(source: str | Path) -> Preprocessing:
    """The pixels that weights expect.

    The registry says it of its own files, wherever they lie, and a safetensors file that this
    package wrote says it itself.

    Args:
        source: as of `locate`; nothing is downloaded for an alias.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: it is not known.
    """
    if row := row_of(source):
        return row.source.preprocessing
    path = locate(source)
    if row := row_of_file(path):
        return row.source.preprocessing
    try:
        found = Preprocessing.from_metadata(read_metadata(path))
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"weights {source}: its pixel normalisation: {error}") from error
    if found is None:
        raise WeightsError(
            f"weights {source}: the file does not record its pixel normalisation; record it with "
            "`resnext convert SOURCE DEST --to safetensors --pixels ...`"
        )
    return found


def _of_row(row: Published) -> Path:
    try:
        return download(row.urls, row.sha256)
    except DownloadError as error:
        if not row.hub:
            raise
        try:
            return from_hub(row.hub, "model.safetensors")
        except WeightsError as hub:
            raise DownloadError(f"{hub}\n{error}") from error


def row_of_file(path: Path) -> Published | None:
    """Returns the row whose file this is, by its name and hash; None for any other file."""
    for row in REGISTRY.values():
        if PurePosixPath(row.file).name == path.name and row.sha256:
            return row if hash_of(path).startswith(row.sha256) else None
    return None


def _is_path(source: str | Path) -> bool:
    """Whether it must be meant as a path: aliases have a slash and no file's ending."""
    suffixes = (".pth", ".pt", ".pkl", ".safetensors", ".bin", ".t7", ".th", ".tar")
    text = str(source)
    return isinstance(source, Path) or "/" not in text or text.endswith(suffixes)
