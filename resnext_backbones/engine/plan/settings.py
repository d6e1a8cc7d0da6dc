"""How a run can take less memory, and what of a config that changes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mmengine.config import Config

from resnext_backbones.engine.memory import BATCH, batch_settings, recompute_setting
from resnext_backbones.engine.walk import value_at

PARTS = "optim_wrapper.accumulative_counts"
RATE_FOR = "auto_scale_lr.base_batch_size"
FROZEN, TRAINABLE = "model.backbone.frozen_stages", "model.backbone.trainable_layers"

OURS = "resnext_backbones."
"""Types of this package begin so."""

MODES = "inner", "block", "pair"
"""What this package's trunk can keep, the most first; each costs more time."""


@dataclass(frozen=True)
class Setting:
    """Says what is another than in a config; None is as the config has it.

    Attributes:
        amp: mixed precision, bf16 or fp16; "" is none.
        recompute: a mode of this package's trunk, or True.
        frozen: the value of `FROZEN` or `TRAINABLE`.
        batch: images of a process that go through the network at once.
        parts: so many of these make one step of the optimiser.
    """

    amp: str
    batch: int
    parts: int = 1
    recompute: bool | str | None = None
    frozen: int | None = None

    def applied(self, cfg: Config) -> Config:
        """Returns a config with this setting; its precision and batch are whoever runs it's."""
        changed = copy.deepcopy(cfg)
        if self.recompute is not None:
            changed.merge_from_dict({recompute_setting(cfg): self.recompute})
        if self.frozen is not None:
            changed.merge_from_dict({frozen_setting(cfg): self.frozen})
        return changed

    def options(self, cfg: Config, amp: str) -> list[str]:
        """Returns what a command line says, beside a config whose precision is `amp`."""
        given = ["--amp", self.amp] if self.amp != amp else []
        changed = {
            **({} if self.batch == value_at(cfg, BATCH) else batch_settings(cfg, self.batch)),
            PARTS: None if self.parts == (value_at(cfg, PARTS) or 1) else self.parts,
            RATE_FOR: self._rate_for(cfg),
            recompute_setting(cfg): self.recompute,
            frozen_setting(cfg): self.frozen,
        }
        pairs = [f"{place}={value}" for place, value in changed.items() if value is not None]
        return [*given, *(["--cfg-options", *pairs] if pairs else [])]

    def _rate_for(self, cfg: Config) -> str | None:
        """Returns how many images a rate is for that follows the batch, where that is another now:
        MMEngine counts the images of a part alone.
        """
        own, base = value_at(cfg, PARTS) or 1, value_at(cfg, RATE_FOR)
        if self.parts == own or not base or not value_at(cfg, "auto_scale_lr.enable"):
            return None
        return f"{base * own / self.parts:g}"


def as_it_is(cfg: Config, amp: str, batch: int | None) -> Setting:
    """Returns a config's own setting, with another batch if one is given."""
    own = value_at(cfg, BATCH) or 1
    return Setting(amp, batch or own, value_at(cfg, PARTS) or 1)


def single_changes(cfg: Config, now: Setting) -> Iterator[tuple[str, Setting]]:
    """Yields what each way to take less memory is called, and the setting with it alone."""
    if not now.amp:
        yield "--amp bf16", replace(now, amp="bf16")
    for mode in _modes(cfg):
        yield f"{recompute_setting(cfg)}={mode}", replace(now, recompute=mode)
    if (more := _one_more_frozen(cfg)) is not None:
        yield f"{frozen_setting(cfg)}={more}", replace(now, frozen=more)
    if now.batch > 1:
        half = now.batch // 2
        alone = batch_settings(cfg, half).items()
        yield " ".join(f"{k}={v}" for k, v in alone), replace(now, batch=half)
        if now.batch % 2 == 0:
            both = replace(now, batch=half, parts=2 * now.parts)
            said = {**batch_settings(cfg, half), PARTS: both.parts, RATE_FOR: both._rate_for(cfg)}
            yield " ".join(f"{k}={v}" for k, v in said.items() if v is not None), both


def to_fit(cfg: Config, now: Setting) -> Iterator[Setting]:
    """Yields settings with the same images a step of the optimiser, what costs least first: mixed
    precision, which is faster; then blocks that are computed twice; then a batch in parts.
    """
    yield now
    halved = replace(now, amp=now.amp or "bf16")
    if halved != now:
        yield halved
    batch, parts = now.batch, now.parts
    while True:
        for mode in _modes(cfg):
            yield replace(halved, batch=batch, parts=parts, recompute=mode)
        if batch % 2:
            return
        batch, parts = batch // 2, 2 * parts
        yield replace(halved, batch=batch, parts=parts)


def frozen_setting(cfg: Config) -> str:
    """Returns where a config says which stages are frozen; "" where it has no such place."""
    backbone = value_at(cfg, "model.backbone") or {}
    if str(value_at(cfg, "model.type")).startswith(f"{OURS}Torchvision"):
        return TRAINABLE
    return FROZEN if isinstance(backbone.get("frozen_stages"), int) else ""


def _one_more_frozen(cfg: Config) -> int | None:
    place = frozen_setting(cfg)
    if place == TRAINABLE:
        layers = value_at(cfg, place)
        layers = 3 if layers is None else layers  # torchvision's default
        return layers - 1 if layers > 0 else None
    stages = value_at(cfg, place) if place else None
    return stages + 1 if stages is not None and stages < 4 else None


def _modes(cfg: Config) -> tuple[bool | str, ...]:
    """Returns the modes of `recompute` that keep less than a config's own."""
    place = recompute_setting(cfg)
    if not place:
        return ()
    own = value_at(cfg, place)
    kinds = str(value_at(cfg, "model.type")), str(value_at(cfg, "model.backbone.type"))
    known: tuple[bool | str, ...] = (True,)
    if any(kind.startswith(OURS) for kind in kinds):
        known, own = MODES, "block" if own is True else own
    return known[known.index(own) + 1 :] if own in known else known
