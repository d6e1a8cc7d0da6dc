"""What a config sets must be an argument of what it is built into."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmengine import registry
from mmengine.registry import Registry, init_default_scope
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.utils.data import DataLoader

from resnext_backbones.engine.catalogue import closest
from resnext_backbones.engine.checks.arguments import arguments
from resnext_backbones.errors import InputError

SCOPE, SCOPE_OF_OWN = "_scope_", "resnext_backbones"

CLIPS: dict[str, Callable[..., Any]] = {"norm": clip_grad_norm_, "value": clip_grad_value_}
"""What an `OptimWrapper` calls for the `type` of its `clip_grad`."""

GROUPS = (
    "custom_keys", "bias_lr_mult", "bias_decay_mult", "norm_decay_mult", "dwconv_decay_mult",
    "dcn_offset_lr_mult", "flat_decay_mult", "bypass_duplicate",
)  # fmt: skip
"""MMEngine's constructor of groups looks for these in `paramwise_cfg`, and at nothing else."""

GROUPED = (None, "DefaultOptimWrapperConstructor", "resnext_backbones.FewGroups")

CONVERTED, FROM_EPOCHS = "convert_to_iter_based", "build_iter_from_epoch"
"""With the setting, MMEngine makes a schedule by this method of its class, which may take more."""

LOADER = frozenset(inspect.signature(DataLoader).parameters) | {
    "num_batch_per_epoch",
    "disable_subprocess_warning",
}
PLAIN: dict[str, frozenset[str]] = {
    **{f"{split}_dataloader": LOADER for split in ("train", "val", "test")},
    "randomness": frozenset({"seed", "diff_rank_seed", "deterministic"}),
    "auto_scale_lr": frozenset({"enable", "base_batch_size"}),
    "env_cfg": frozenset({"cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit"}),
}
"""Mappings without a type have these keys, and no others."""


@dataclass(frozen=True)
class Kind:
    """Holds of what MMEngine builds from a mapping with a `type`.

    Attributes:
        registries: their names in `mmengine.registry`; the first that has the type counts.
        given: arguments that MMEngine brings; None are not known, so that none is looked at.
        taken: keys that MMEngine reads, and does not hand on.
        default: the type where none is named.
        strict: a type that is not registered is a fault, and not of another registry.
        typeless: without a type and a default, it is not for MMEngine to build.
    """

    registries: tuple[str, ...]
    given: tuple[str, ...] | None = ()
    taken: tuple[str, ...] = ()
    default: str | None = None
    strict: bool = True
    typeless: bool = False


LOADERS = r"(train|val|test)_dataloader"
DATASET = rf"{LOADERS}\.dataset(\.dataset|\.datasets\.\d+)*"
STEP = rf"{DATASET}\.pipeline(\.\d+)?"
HOOK = r"(default|custom)_hooks\.[^.]+"
PART = r"(?P<part>model(\..+)?)"
INIT_CFG = rf"{PART}\.init_cfg(\.\d+)?"
LAYER = rf"{PART}\.(norm|conv|act)_cfg"

OF_MMCV = ("mmcv", "mmdet")
"""Parts of models in these packages have mmcv build their layers; others may read such a setting
by themselves."""

KINDS = {
    "optim_wrapper": Kind(
        ("OPTIM_WRAPPERS",), ("optimizer",), ("constructor", "paramwise_cfg"), "OptimWrapper"
    ),
    r"optim_wrapper\.optimizer": Kind(("OPTIMIZERS",), ("params",)),
    r"param_scheduler(\.\d+)?": Kind(
        ("PARAM_SCHEDULERS",), ("optimizer", "param_name"), (CONVERTED,)
    ),
    HOOK: Kind(("HOOKS",), (), ("priority",)),
    "(train|val|test)_cfg": Kind(
        ("LOOPS",), ("runner", "dataloader", "evaluator"), ("by_epoch",), typeless=True
    ),
    rf"{LOADERS}\.(batch_)?sampler": Kind(
        ("DATA_SAMPLERS",), ("dataset", "sampler", "batch_size", "seed")
    ),
    DATASET: Kind(("DATASETS",)),
    STEP: Kind(("TRANSFORMS",)),
    rf"{STEP}\.transforms?(\.\d+)?": Kind(("TRANSFORMS",), strict=False),
    r"(train|val|test)_evaluator(\.\d+)?": Kind(("EVALUATOR", "METRICS")),
    "visualizer": Kind(("VISUALIZERS",), ("name", "save_dir"), typeless=True),
    r"visualizer\.vis_backends(\.\d+)?": Kind(("VISBACKENDS",), ("save_dir",), ("name",)),
    "log_processor": Kind(("LOG_PROCESSORS",), default="LogProcessor"),
    INIT_CFG: Kind(("WEIGHT_INITIALIZERS",), (), ("override", "layer")),
    # mmcv builds these, which does not name a type that it does not find.
    LAYER: Kind(("MODELS",), None, typeless=True),
}
"""What is built where in a config, by what its place looks like."""


def check_arguments(cfg: Any, built: Mapping[str, Any]) -> None:
    """Checks that each type in what is built is registered, takes the arguments that it is given,
    and is given those that it needs, or raises InputError with the names that are close.
    """
    init_default_scope(cfg.get("default_scope") or "mmengine")
    for place, node in built.items():
        if not isinstance(node, Mapping):
            continue
        if place in PLAIN:
            _check_keys(cfg, place, node, PLAIN[place], "nothing reads it")
        kind = next((KINDS[each] for each in KINDS if re.fullmatch(each, place)), None)
        if kind and not _is_built_otherwise(place, built):
            _check(cfg, place, node, kind)
    _check_optimiser(cfg)


def _is_built_otherwise(place: str, built: Mapping[str, Any]) -> bool:
    """Tells whether a place is of one of several optimisers, whose wrapper makes them, or is an
    `init_cfg` without a type, or a layer, in a part of somebody else's, who may read it.
    """
    if place.startswith(("optim_wrapper", "param_scheduler")):
        return "optimizer" not in (built.get("optim_wrapper") or {})
    if found := re.fullmatch(LAYER, place):
        part = built[found["part"]]
        kind = registered(registry.MODELS, part.get("type"), part)
        return getattr(kind, "__module__", "").partition(".")[0] not in OF_MMCV
    found = re.fullmatch(INIT_CFG, place)
    if not found or "type" in built[place]:
        return False
    return not str(built[found["part"]].get("type")).startswith(f"{SCOPE_OF_OWN}.")


def _check(cfg: Any, place: str, node: Mapping[str, Any], kind: Kind) -> None:
    named = node.get("type", kind.default)
    if named is None and kind.typeless:
        return
    if named is None:
        raise InputError(f"config {cfg.filename}: {place}: has no type, which says what it is")
    tables: list[Registry] = [getattr(registry, name) for name in kind.registries]
    types = (registered(table, named, node) for table in tables)
    found = next((each for each in types if each is not None), None)
    if found is None and kind.strict:
        near = closest(named, sorted(_names(tables[-1])))
        raise InputError(
            f"config {cfg.filename}: {place}.type {named}: nothing of this name is registered "
            f"among MMEngine's {kind.registries[-1]}; try {near}, or name its module in "
            "custom_imports"
        )
    if not callable(found) or kind.given is None:
        return
    names, needed, is_open = arguments(found)
    if node.get(CONVERTED) and hasattr(found, FROM_EPOCHS):
        names = names | arguments(getattr(found, FROM_EPOCHS))[0]
    word = getattr(found, "__name__", str(named))
    if not is_open:
        taken = {"type", SCOPE, *kind.taken, *kind.given}
        own = {key: value for key, value in node.items() if key not in taken}
        _check_keys(cfg, place, own, names - set(kind.given), f"{word} takes no such argument")
    if lacking := sorted(needed - set(kind.given) - set(node)):
        raise InputError(f"config {cfg.filename}: {place}: {word} needs {', '.join(lacking)}")


def registered(known: Registry, named: Any, node: Mapping[str, Any]) -> Any:
    """Returns what is registered by a name, in the scope of the mapping that has it, or None; what
    is no name as it is.
    """
    with known.switch_scope_and_registry(node.get(SCOPE)) as table:
        return table.get(named) if isinstance(named, str) else named


def _check_keys(
    cfg: Any, path: str, node: Mapping[str, Any], known: Iterable[str], why: str
) -> None:
    for key in node:
        if key not in known:
            near = closest(str(key), sorted(known))
            raise InputError(f"config {cfg.filename}: {path}.{key}: {why}; try {near}")


def _check_optimiser(cfg: Any) -> None:
    """Checks the parts of `optim_wrapper` that have no type of their own, for one optimiser."""
    wrapper = cfg.get("optim_wrapper") or {}
    groups, clip = wrapper.get("paramwise_cfg") or {}, wrapper.get("clip_grad") or {}
    if wrapper.get("constructor") in GROUPED:
        _check_keys(cfg, "optim_wrapper.paramwise_cfg", groups, GROUPS, "nothing reads it")
    if clip and (function := CLIPS.get(clip.get("type", "norm"))):
        known = inspect.signature(function).parameters.keys() - {"parameters"} | {"type"}
        _check_keys(cfg, "optim_wrapper.clip_grad", clip, known, f"{function.__name__} has none")


def _names(known: Registry) -> Iterator[str]:
    """Yields the names in a registry and in those of its scopes, as a config writes them."""
    yield from known.module_dict
    for scope, child in known.children.items():
        yield from child.module_dict
        yield from (f"{scope}.{name}" for name in child.module_dict)
