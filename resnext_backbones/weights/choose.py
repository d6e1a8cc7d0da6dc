"""Published weights are put in order by what they give and cost, and one is chosen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from resnext_backbones.complexity import IMAGES, SIZE, costs, training_bytes
from resnext_backbones.errors import InputError
from resnext_backbones.weights.publishers import FREE
from resnext_backbones.weights.registry import REGISTRY, Published


@dataclass(frozen=True)
class Limits:
    """Says what weights may cost; None is no limit.

    Attributes:
        free: whether all may use them, also to earn money.
        memory: bytes of the trunk's training step, for `images` of `size`.
        latency: seconds of the trunk for an image of `size`.
    """

    free: bool = False
    memory: float | None = None
    latency: float | None = None
    images: int = IMAGES
    size: tuple[int, int] = SIZE


@dataclass(frozen=True)
class Candidate:
    """Holds weights with what their network costs.

    Attributes:
        memory: bytes, as of `Limits`.
        seconds: of the trunk, where it was measured here.
    """

    row: Published
    memory: float
    seconds: float | None = None

    @property
    def top1(self) -> float:
        assert self.row.top1 is not None  # others are no candidates
        return self.row.top1


@dataclass(frozen=True)
class Choice:
    """Says which weights were chosen and what became of all others.

    Attributes:
        considered: how many there were.
        fell: reason -> those that fell out for it, the most accurate first.
        rest: those that are less accurate; whether they are fast enough was not looked at.
    """

    best: Candidate
    considered: int
    fell: Mapping[str, list[Published]]
    rest: list[Published]


def published(contains: str = "") -> list[Published]:
    """Returns published weights with this in an alias, each once, sorted by name."""
    rows = {row.alias: row for alias, row in sorted(REGISTRY.items()) if contains in alias}
    return [rows[alias] for alias in sorted(rows)]


def choose(
    rows: Iterable[Published],
    limits: Limits,
    known: Mapping[str, float],
    measure: Callable[[str], float],
    *,
    seconds: float,
) -> Choice:
    """Returns the most accurate weights within limits; of equal ones those of the smaller network.

    Latencies that are not known are measured from the most accurate on, until one is within.

    Args:
        rows: published weights.
        known: variant -> seconds that were measured here.
        measure: returns them for a variant.
        seconds: after so many nothing more is measured.

    Raises:
        InputError: none fits, and what comes next; or there was no time to measure.
    """
    rows = list(rows)
    fell: dict[str, list[Published]] = {}
    found: list[Candidate] = []
    for row in rows:
        reason, memory = "", 0.0
        if limits.free and row.source.licence not in FREE:
            reason = f"of licence {row.source.licence}"
        elif row.top1 is None:
            reason = "without a published accuracy on ImageNet-1k"
        else:
            memory = _memory(row.variant, limits)
            if limits.memory is not None and memory > limits.memory:
                reason = _larger(limits)
        if reason:
            fell.setdefault(reason, []).append(row)
        else:
            found.append(Candidate(row, memory))
    network = costs()
    found.sort(key=lambda c: (-c.top1, network[c.row.variant].trunk_multiply_adds, c.row.alias))
    known = dict(known)
    best = _fast_enough(found, limits, known, measure, seconds, fell)
    if best is None:
        raise InputError(_none(limits, fell, known, len(rows)))
    rest = [each.row for each in found[[c.row for c in found].index(best.row) + 1 :]]
    for each in fell.values():
        each.sort(key=lambda row: -(row.top1 or 0))
    return Choice(best, len(rows), fell, rest)


def _memory(variant: str, limits: Limits) -> float:
    needed = training_bytes(variant, images=limits.images, size=limits.size)
    return float("inf") if needed is None else needed


def _fast_enough(
    found: list[Candidate],
    limits: Limits,
    known: dict[str, float],
    measure: Callable[[str], float],
    seconds: float,
    fell: dict[str, list[Published]],
) -> Candidate | None:
    """Returns the first that is fast enough; the others before it go into `fell`."""
    end = time.monotonic() + seconds
    for candidate in found:
        variant = candidate.row.variant
        if limits.latency is None:
            return Candidate(candidate.row, candidate.memory, known.get(variant))
        if variant not in known:
            if time.monotonic() > end:
                raise InputError(
                    f"{variant}: there was no time to measure it in {seconds:g} s; what was "
                    "measured is kept, so the same again goes on, and so does a higher --seconds"
                )
            known[variant] = measure(variant)
        taken = known[variant]
        if taken <= limits.latency:
            return Candidate(candidate.row, candidate.memory, taken)
        fell.setdefault(_slower(limits), []).append(candidate.row)
    return None


def _none(
    limits: Limits, fell: Mapping[str, list[Published]], known: Mapping[str, float], count: int
) -> str:
    """Returns why no weights fit, and what the next best would take."""
    said = [f"no weights fit, of {count}: {', '.join(f'{len(v)} {k}' for k, v in fell.items())}"]
    if slow := fell.get(_slower(limits), []):
        fastest = min(slow, key=lambda row: known[row.variant])
        said.append(f"the fastest is {fastest.alias}, {milliseconds(known[fastest.variant])}")
    if large := fell.get(_larger(limits), []):
        least = min(large, key=lambda row: _memory(row.variant, limits))
        said.append(f"the smallest is {least.alias}, {gigabytes(_memory(least.variant, limits))}")
    return "; ".join(said)


def _slower(limits: Limits) -> str:
    return f"slower than {milliseconds(limits.latency or 0)}"


def _larger(limits: Limits) -> str:
    return f"with more memory than {gigabytes(limits.memory or 0)}"


def gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds >= 0.01 else f"{1000 * seconds:.1f} ms"
