"""Files that one host has and another lacks are handed over: checkpoints and weights."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import distributed

from resnext_backbones.engine import hosts
from resnext_backbones.errors import InputError
from resnext_backbones.io import atomic_write
from resnext_backbones.weights.download import hash_of
from resnext_backbones.weights.errors import DownloadError, WeightsError
from resnext_backbones.weights.sources import locate, place_of

CHUNK = 2**26
"""So many bytes are sent at a time."""


@dataclass(frozen=True)
class Offer:
    """A file that a host has.

    Attributes:
        path: on that host.
        sha256: of its content.
        size: in bytes.
        order: the file with the greatest one is taken.
    """

    path: str
    sha256: str
    size: int
    order: int

    @classmethod
    def of(cls, path: Path, order: int = 0) -> Offer:
        return cls(str(path), hash_of(path), path.stat().st_size, order)


def settle(
    mine: Offer | None, to: Callable[[Offer], Path], what: str, *, local_rank: int
) -> Path | None:
    """Returns where this host has the file that all hosts are to use; None where none has one.

    The first process of a host offers what is there and receives what is not; all must call.

    Args:
        mine: what this process offers.
        to: returns where a file that is received goes.
        what: the file, in messages.

    Raises:
        InputError: hosts have different files of the same order; it names them.
        RunError: another process has ended.
    """
    group = hosts.cpu_group()
    offers: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(offers, (local_rank, mine), group)
    found = {rank: offer for rank, (_, offer) in enumerate(offers) if offer}
    if not found:
        return None
    newest = max(offer.order for offer in found.values())
    best = {rank: offer for rank, offer in found.items() if offer.order == newest}
    if len({offer.sha256 for offer in best.values()}) > 1:
        listed = "; ".join(
            f"{offer.path} (SHA-256 {offer.sha256[:12]}) of {hosts.name_of(rank)}"
            for rank, offer in best.items()
        )
        raise InputError(f"{what}: differs between hosts: {listed}; leave the one to take")
    owner, chosen = next(iter(best.items()))
    lacking = [
        rank
        for rank, (local, offer) in enumerate(offers)
        if local == 0 and (offer is None or offer.sha256 != chosen.sha256)
    ]
    own = mine is not None and mine.sha256 == chosen.sha256
    here = Path(mine.path) if mine is not None and own else to(chosen)
    if lacking:
        _send(chosen, owner, lacking, here, group)
    paths: list[Any] = [None] * len(offers)
    distributed.all_gather_object(paths, (local_rank, str(here)), group)
    # Processes are numbered host by host: the nearest one before with number 0 is this host's.
    rank = distributed.get_rank()
    return Path(next(path for local, path in reversed(paths[: rank + 1]) if local == 0))


def share_weights(source: str | None) -> None:
    """Has each host download weights once; one that cannot is sent them by one that could.

    Raises WeightsError where no host can.
    """
    if not distributed.is_initialized() or not source or not (place := place_of(source)):
        return
    mine, local_rank = None, int(os.environ.get("LOCAL_RANK", "0"))
    failure: WeightsError | None = None
    try:
        if local_rank == 0:
            mine = Offer.of(locate(source))
    except DownloadError as error:
        failure = error
    if not settle(mine, lambda _: place, f"weights {source}", local_rank=local_rank) and failure:
        raise failure


def _send(chosen: Offer, owner: int, lacking: list[int], here: Path, group: Any) -> None:
    """Sends a file from its owner to the processes that lack it."""
    rank = distributed.get_rank()
    if rank == owner:
        to = ", ".join(map(hosts.name_of, lacking))
        print_log(f"{chosen.path}: is sent to {to}", logger="current")
        with open(chosen.path, "rb") as file:  # noqa: PTH123
            while block := file.read(CHUNK):
                data = torch.frombuffer(bytearray(block), dtype=torch.uint8)
                for other in lacking:
                    distributed.send(data, other, group)
    elif rank in lacking:
        with atomic_write(here) as temporary, temporary.open("wb") as file:
            for begin in range(0, chosen.size, CHUNK):
                data = torch.empty(min(CHUNK, chosen.size - begin), dtype=torch.uint8)
                distributed.recv(data, owner, group)
                file.write(data.numpy().tobytes())
        print_log(f"{here}: was sent by {hosts.name_of(owner)}", logger="current")
