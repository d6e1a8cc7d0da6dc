"""What a run goes on from, or begins with, must fit its network before anything is built."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.model import BaseModule
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from resnext_backbones.adapters.mmengine import init_cfgs, is_pretrained, load_from_checked
from resnext_backbones.engine.checkpoints import (
    enter,
    find_checkpoint,
    newest_checkpoint,
    read_journal,
)
from resnext_backbones.engine.checks.network import (
    build_on_meta,
    check_checkpoint,
    differences,
    read_checkpoint,
)
from resnext_backbones.engine.config import AUTO, BEGAN_WITH, OWN_BACKBONES
from resnext_backbones.engine.handover import Offer, settle
from resnext_backbones.engine.hooks import AVERAGED
from resnext_backbones.engine.walk import dicts_with
from resnext_backbones.errors import InputError
from resnext_backbones.models import ResNeXt
from resnext_backbones.weights import WeightsError
from resnext_backbones.weights.checkpoint import Checkpoint
from resnext_backbones.weights.compare import (
    BROKEN,
    COUNTER,
    MISSING,
    NEGATIVE,
    SHAPE,
    TYPE,
    UNEXPECTED,
    Comparison,
)

HEAD = "network.fc."

PLUGINS = tuple(f"after_conv{i}_plugin_names" for i in (1, 2, 3))
"""MMDetection's blocks have the names of their plugins there."""


@dataclass(frozen=True)
class Begin:
    """Says what a run begins with.

    Attributes:
        meta: what a checkpoint says of its run.
        loaded: what of `load_from` the network takes, for the log; "" without it.
        left: what of the network keeps new values then, and what of the file is left out.
        problems: what does not fit; one may ask to go on.
    """

    meta: Mapping[str, Any] = field(default_factory=dict)
    loaded: str = ""
    left: str = ""
    problems: tuple[str, ...] = ()


def begin(cfg: Config) -> Begin:
    """Checks the checkpoint that a config resumes, or `load_from`, and what else its model loads;
    finds them, by a path or an address, and sets `cfg.load_from` to the file.

    Of `load_from` the backbone must fit whole. Other parts may differ, as heads do for other
    classes, and keep their new values; they are listed.

    Raises:
        InputError: there is no such file, nothing of it fits, or it cannot be resumed.
        WeightsError: it cannot be had or read, or holds what could run code.
    """
    if first := of_run(cfg):
        return first
    if cfg.get("load_from"):
        source = str(cfg.load_from)
        cfg.load_from = find_checkpoint(source, "load_from")
        return _of_network(cfg, source)
    return Begin(problems=tuple(_of_parts(cfg)))


def of_run(cfg: Config) -> Begin | None:
    """Finds and checks the checkpoint that a run goes on from; None where it has none, and begins
    as without `resume`. Errors also as of `handover.settle`: hosts that share no folder take the
    newest checkpoint of all.
    """
    if not cfg.get("resume"):
        return None
    named = None if cfg.resume == AUTO else cfg.get("load_from")
    if distributed.is_initialized():
        checkpoint = _settled(Path(cfg.work_dir), named)
    else:
        checkpoint = named or newest_checkpoint(cfg.work_dir)
    cfg.resume = bool(checkpoint)  # or MMEngine would look by itself
    if not checkpoint:
        cfg.pop(BEGAN_WITH, None)
        return None
    cfg.load_from = find_checkpoint(str(checkpoint))
    meta = check_checkpoint(cfg.load_from, cfg, to_resume=True)
    return Begin(meta, problems=tuple(_of_averages(cfg)))


def _settled(work_dir: Path, named: str | None) -> Path | str | None:
    """Returns the checkpoint that all hosts go on from, which one that lacks it is sent."""
    mine = None
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if local_rank == 0 and (found := named or newest_checkpoint(work_dir)):
        steps = {work_dir / entry.file: entry.iter for entry in read_journal(work_dir)}
        # Of those that are named none is the newest: they are to be one file.
        order = 0 if named else steps.get(Path(found), 0)
        mine = Offer.of(Path(found), order) if Path(found).is_file() else None

    def place(offer: Offer) -> Path:
        return work_dir / Path(offer.path).name

    settled = settle(mine, place, "checkpoint to resume", local_rank=local_rank)
    if settled and local_rank == 0 and (mine is None or settled != Path(mine.path)):
        enter(work_dir, settled, int(read_checkpoint(settled)["meta"]["iter"]), keep=0)
    return settled or named  # which no host has, and the next to read it says so


def _of_network(cfg: Config, source: str) -> Begin:
    content = read_checkpoint(cfg.load_from, "load_from")
    model = build_on_meta(cfg)
    added = set(_added(model))
    variant, fused = _trunk_of(content)
    found, held, network = differences(source, content, model)
    held = held or variant
    found[MISSING] = [key for key in found[MISSING] if key not in added]
    keys = [key for key in model.state_dict() if not key.endswith(COUNTER)]
    left = {text.partition(" ")[0] for kind in (MISSING, SHAPE, TYPE) for text in found[kind]}
    taken = len(set(keys) - left - added)
    if found[BROKEN] or found[NEGATIVE] or found[TYPE] or not taken:
        bare = held and any(".backbone." in f".{key}" for key in keys)
        alone = f" To begin with a backbone alone, give --weights {source}." if bare else ""
        none = "" if taken else f"None of the network's {len(keys)} tensors is in it.{alone} "
        raise InputError(found.message(f"load_from {source}", held, network, none))
    said = f"{source} ({taken} of {len(keys)} tensors)"
    trunk = Comparison(
        (what, [text for text in texts if _in_trunk(text)]) for what, texts in found.items()
    )
    problems = []
    if trunk:
        message = trunk.message(f"load_from {source}", held, network)
        problems = [message.replace("Nothing was loaded.", "The backbone would be loaded in part.")]
    if fused and _has_moving_norms(model.train()):
        problems.append(
            f"load_from {source}: has fused norms, which only scale and shift: with statistics of "
            "a batch they compute something else; keep those of the backbone (norm_eval=True)"
        )
    return Begin(content.get("meta") or {}, said, _listed(found), tuple(problems))


def _trunk_of(content: Mapping[str, Any]) -> tuple[str, bool]:
    """Returns the network that a file holds, if it is one, and whether its norms are fused."""
    try:
        held = Checkpoint.of(content)
    except WeightsError:  # it holds several, as that of a teacher and its student
        return "", False
    return held.variant, held.fused


def _listed(found: Comparison) -> str:
    """Returns what was not taken, all shapes among it, in one line."""
    lines = [f"{SHAPE}: {', '.join(found[SHAPE])}"] if found[SHAPE] else []
    for what, name in ((MISSING, "not in the file"), (UNEXPECTED, "of the file left out")):
        if found[what]:
            parts = sorted({".".join(key.split(".")[:2]) for key in found[what]})
            lines.append(f"{len(found[what])} {name} ({', '.join(parts)})")
    return "; ".join(lines)


def _has_moving_norms(model: nn.Module) -> bool:
    """Tells whether a trunk has norms with the statistics of each batch."""
    norms = ((n, m) for n, m in model.named_modules() if isinstance(m, _BatchNorm))
    return any(norm.training and _in_trunk(name) for name, norm in norms)


def _in_trunk(key: str) -> bool:
    """Tells whether a key is of a backbone, or of a classifier below its head."""
    return ".backbone." in f".{key}" or (key.startswith("network.") and not key.startswith(HEAD))


def _added(model: nn.Module) -> Iterator[str]:
    """Yields the keys of plugins and offsets, which no plain trunk's weights have."""
    for name, module in model.named_modules():
        if isinstance(module, ResNeXt):
            yield from (f"{name}.{key}" for key in module.added_keys())


def _of_averages(cfg: Config) -> Iterator[str]:
    """Yields what is wrong with the averages of what a run goes on from."""
    content = read_checkpoint(cfg.load_from)
    averages = content.get(AVERAGED)
    if averages is None:
        return
    name = f"checkpoint {cfg.load_from}"
    if not any(dicts_with(cfg.get("custom_hooks"), averages_weights)):
        yield (
            f"{name}: its run averaged weights (EMAHook), which stand in the place of the trained "
            "ones, and the config does not; give it the EMAHook of the run"
        )
        return
    if not isinstance(averages, Mapping):
        raise InputError(f"{name}: its {AVERAGED} is a {type(averages).__name__}")
    state = {
        str(key).removeprefix("module."): value
        for key, value in averages.items()
        if isinstance(value, Tensor) and key != "steps"
    }
    found, held, network = differences(cfg.load_from, {"state_dict": state}, build_on_meta(cfg))
    if found:
        raise InputError(found.message(f"{name}, {AVERAGED}", held, network))


def _of_parts(cfg: Config) -> Iterator[str]:
    """Yields where the `init_cfg` of a part would load weights in part, as MMEngine does. This
    package's trunk looks by itself.
    """
    if not any(dicts_with(cfg.model, _loads_itself)):
        return
    model = build_on_meta(cfg)
    for name, module in model.named_modules():
        own = getattr(type(module), "init_weights", None)
        if isinstance(module, ResNeXt) or own is not BaseModule.init_weights:
            continue
        for init_cfg in filter(is_pretrained, init_cfgs(module)):
            yield from _of_part(name or "the model", module, init_cfg)


def _loads_itself(part: Mapping[str, Any]) -> bool:
    """Tells whether a config's part loads weights by an `init_cfg`, and is not this trunk's."""
    return part.get("type") not in OWN_BACKBONES and any(map(is_pretrained, init_cfgs(part)))


def _of_part(name: str, module: nn.Module, init_cfg: Mapping[str, Any]) -> Iterator[str]:
    source, prefix = str(init_cfg.get("checkpoint")), str(init_cfg.get("prefix") or "")
    what = f"init_cfg of {name}: weights {source}"
    try:
        content = load_from_checked(source)
    except FileNotFoundError as error:
        raise InputError(f"init_cfg of {name}: {error}") from error
    state = content.get("state_dict", content)
    if prefix:
        start = prefix.rstrip(".") + "."
        state = {k.removeprefix(start): v for k, v in state.items() if str(k).startswith(start)}
    found = differences(source, {"state_dict": state}, module)[0]
    found[MISSING] = [key for key in found[MISSING] if not _is_added(key, module)]
    found[UNEXPECTED] = []  # a head, most often
    if found[BROKEN] or found[NEGATIVE] or found[TYPE]:
        raise InputError(f"{what}: nothing was loaded{found}")
    if found:
        part = f" behind {prefix!r}" if prefix else ""
        yield f"{what}: what is in the file{part} would be loaded in part{found}\n"


def _is_added(key: str, module: nn.Module) -> bool:
    """Tells whether a tensor is of an offset or a plugin, which no plain network's weights have."""
    lists = (getattr(m, name, ()) for m in module.modules() for name in PLUGINS)
    plugins = {plugin for names in lists for plugin in names}
    return bool({"conv_offset", *plugins} & set(key.split(".")))


def averages_weights(cfg: Mapping[str, Any]) -> bool:
    """Tells whether the config of a hook is that of MMEngine's EMAHook."""
    kind = cfg.get("type")
    return getattr(kind, "__name__", str(kind)).rpartition(".")[2] == "EMAHook"
