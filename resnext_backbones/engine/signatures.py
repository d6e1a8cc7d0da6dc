"""What a config sets must be an argument of what it is built into."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mmengine import registry
from mmengine.registry import Registry, init_default_scope
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.utils.data import DataLoader

from resnext_backbones.engine.catalogue import closest
from resnext_backbones.errors import InputError

SPLITS = ("train", "val", "test")
SCOPE, SCOPE_OF_OWN = "_scope_", "resnext_backbones"

CLIPS: dict[str, Callable[..., Any]] = {"norm": clip_grad_norm_, "value": clip_grad_value_}
"""What an `OptimWrapper` calls for the `type` of its `clip_grad`."""

GROUPS = (
    "custom_keys", "bias_lr_mult", "bias_decay_mult", "norm_decay_mult", "dwconv_decay_mult",
    "dcn_offset_lr_mult", "flat_decay_mult", "bypass_duplicate",
)  # fmt: skip
"""MMEngine's constructor of groups looks for these in `paramwise_cfg`, and at nothing else."""

CONVERTED, FROM_EPOCHS = "convert_to_iter_based", "build_iter_from_epoch"
"""With the setting, MMEngine makes a schedule by this method of its class, which may take more."""

GROUPED = (None, "DefaultOptimWrapperConstructor", "resnext_backbones.FewGroups")


@dataclass(frozen=True)
class Kind:
    """Holds of what MMEngine builds from a mapping with a `type`.

    Attributes:
        registry: its name in `mmengine.registry`.
        given: arguments that MMEngine brings.
        taken: keys that MMEngine reads, and does not hand on.
        default: the type where none is named.
        strict: a type that is not registered is a fault, and not of another registry.
        typeless: without a type and a default, it is not for MMEngine to build.
    """

    registry: str
    given: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    default: str | None = None
    strict: bool = True
    typeless: bool = False


WRAPPER = Kind(
    "OPTIM_WRAPPERS", ("optimizer",), ("constructor", "paramwise_cfg"), default="OptimWrapper"
)
OPTIMIZER = Kind("OPTIMIZERS", ("params",))
SCHEDULER = Kind("PARAM_SCHEDULERS", ("optimizer", "param_name"), (CONVERTED,))
HOOK = Kind("HOOKS", (), ("priority",))
LOOP = Kind("LOOPS", ("runner", "dataloader", "evaluator"), ("by_epoch",))
DATASET = Kind("DATASETS")
TRANSFORM = Kind("TRANSFORMS")
INNER_TRANSFORM = Kind("TRANSFORMS", strict=False)
SAMPLER = Kind("DATA_SAMPLERS", ("dataset", "sampler", "batch_size", "seed"))
METRIC = Kind("METRICS")
EVALUATOR = Kind("EVALUATOR")
BACKEND = Kind("VISBACKENDS", ("save_dir",), ("name",))
VISUALIZER = Kind("VISUALIZERS", ("name", "save_dir"))
PROCESSOR = Kind("LOG_PROCESSORS", default="LogProcessor")
INITIALIZER = Kind("WEIGHT_INITIALIZERS", (), ("override", "layer"))
OTHERS_INITIALIZER = replace(INITIALIZER, typeless=True)

LOADER = frozenset(inspect.signature(DataLoader).parameters) | {
    "num_batch_per_epoch",
    "disable_subprocess_warning",
}
PLAIN: dict[str, frozenset[str]] = {
    **{f"{split}_dataloader": LOADER for split in SPLITS},
    "randomness": frozenset({"seed", "diff_rank_seed", "deterministic"}),
    "auto_scale_lr": frozenset({"enable", "base_batch_size"}),
    "env_cfg": frozenset({"cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit"}),
}
"""Mappings without a type have these keys, and no others."""


def check_settings(cfg: Any, splits: Iterable[str] = SPLITS) -> None:
    """Checks that what a config sets is read by what it builds: each type is registered, takes the
    arguments that it is given, and is given those that it needs.

    Args:
        splits: the loaders and evaluators that are to be built: of train, val and test.

    Raises:
        InputError: the first that is not, with the names that are close.
    """
    init_default_scope(cfg.get("default_scope") or "mmengine")
    for path, known in PLAIN.items():
        split = path.partition("_dataloader")[0]
        if path.endswith("_dataloader") and split not in splits:
            continue
        if isinstance(node := cfg.get(path), Mapping):
            _check_keys(cfg, path, node, known, "nothing reads it")
    for path, node, kind in _typed(cfg, tuple(splits)):
        _check(cfg, path, node, kind)
    _check_optimiser(cfg)


def _check(cfg: Any, path: str, node: Mapping[str, Any], kind: Kind) -> None:
    named = node.get("type", kind.default)
    if named is None and kind.typeless:
        return
    if named is None:
        raise InputError(f"config {cfg.filename}: {path}: has no type, which says what it is")
    known: Registry = getattr(registry, kind.registry)
    built = registered(known, named, node)
    if built is None:
        if kind.strict:
            near = closest(named, sorted(_names(known)))
            raise InputError(
                f"config {cfg.filename}: {path}.type {named}: nothing of this name is registered "
                f"among MMEngine's {kind.registry}; try {near}, or name its module in "
                "custom_imports"
            )
        return
    if not callable(built):
        return
    names, needed, is_open = arguments(built)
    if node.get(CONVERTED) and hasattr(built, FROM_EPOCHS):
        names = names | arguments(getattr(built, FROM_EPOCHS))[0]
    taken = {"type", SCOPE, *kind.taken, *kind.given}
    word = getattr(built, "__name__", str(named))
    if not is_open:
        given = {key: value for key, value in node.items() if key not in taken}
        _check_keys(cfg, path, given, names - set(kind.given), f"{word} takes no such argument")
    if lacking := sorted(needed - set(kind.given) - set(node)):
        raise InputError(f"config {cfg.filename}: {path}: {word} needs {', '.join(lacking)}")


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


def arguments(built: Callable[..., Any]) -> tuple[set[str], set[str], bool]:
    """Returns the names that a class or function takes, those that it needs, and whether it may
    take others: a class that hands on what it does not know takes what its bases do.
    """
    bases = built.__mro__[:-1] if inspect.isclass(built) else ()
    inits: list[Any] = [vars(base)["__init__"] for base in bases if "__init__" in vars(base)]
    chain: list[Any] = inits if inspect.isclass(built) else [built]
    names: set[str] = set()
    needed: set[str] | None = None
    for function in chain:
        try:
            found = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):  # of what is written in C
            return names, needed or set(), True
        own = [p for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        names |= {p.name for p in own}
        if needed is None:
            needed = {p.name for p in own if p.default is p.empty} - {"self"}
        if not any(p.kind is p.VAR_KEYWORD for p in found):
            return names - {"self"}, needed, False
    return names - {"self"}, needed or set(), bool(chain)


def _typed(cfg: Any, splits: tuple[str, ...]) -> Iterator[tuple[str, Mapping[str, Any], Kind]]:
    """Yields what MMEngine will build: its place in the config, the mapping, and the kind."""
    wrapper = cfg.get("optim_wrapper") or {}
    if "train" in splits and "optimizer" in wrapper:  # else it has several, each its own
        yield "optim_wrapper", wrapper, WRAPPER
        yield "optim_wrapper.optimizer", wrapper["optimizer"], OPTIMIZER
        for path, node in _each("param_scheduler", cfg.get("param_scheduler")):
            yield path, node, SCHEDULER
    for section in ("default_hooks", "custom_hooks"):
        for path, node in _each(section, cfg.get(section), within=True):
            yield path, node, HOOK
    for split in splits:
        loop = cfg.get(f"{split}_cfg")
        if isinstance(loop, Mapping) and "type" in loop:
            yield f"{split}_cfg", loop, LOOP
        yield from _of_loader(f"{split}_dataloader", cfg.get(f"{split}_dataloader") or {})
        for path, node in _each(f"{split}_evaluator", cfg.get(f"{split}_evaluator")):
            several = registered(registry.EVALUATOR, node.get("type", ""), node) is not None
            yield path, node, EVALUATOR if several else METRIC
    if visualizer := cfg.get("visualizer"):
        if "type" in visualizer:
            yield "visualizer", visualizer, VISUALIZER
        for path, node in _each("visualizer.vis_backends", visualizer.get("vis_backends")):
            yield path, node, BACKEND
    if isinstance(cfg.get("log_processor"), Mapping):
        yield "log_processor", cfg.log_processor, PROCESSOR
    yield from _initializers("model", cfg.get("model"))


def _of_loader(path: str, loader: Mapping[str, Any]) -> Iterator[tuple[str, Any, Kind]]:
    for name in ("sampler", "batch_sampler"):
        if isinstance(loader.get(name), Mapping):
            yield f"{path}.{name}", loader[name], SAMPLER
    for place, dataset in datasets_of(path, {path: loader}):
        yield place, dataset, DATASET
        for step_path, step in _each(f"{place}.pipeline", dataset.get("pipeline")):
            yield step_path, step, TRANSFORM
            for key in ("transforms", "transform"):
                for inner_path, within in _each(f"{step_path}.{key}", step.get(key)):
                    yield inner_path, within, INNER_TRANSFORM


def datasets_of(path: str, cfg: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields the data sets of a loader, also those in others, with their places."""
    waiting = [(f"{path}.dataset", (cfg.get(path) or {}).get("dataset"))]
    while waiting:
        place, dataset = waiting.pop()
        if isinstance(dataset, Mapping):
            yield place, dataset
            waiting += [(f"{place}.dataset", dataset.get("dataset"))]
            inner = dataset.get("datasets")
            waiting += _each(f"{place}.datasets", inner if isinstance(inner, list) else None)


def _initializers(path: str, node: Any) -> Iterator[tuple[str, Any, Kind]]:
    """Yields every `init_cfg` in a model; those of others may be without a type."""
    own = isinstance(node, Mapping) and str(node.get("type")).startswith(f"{SCOPE_OF_OWN}.")
    children: Any = node.items() if isinstance(node, Mapping) else ()
    children = enumerate(node) if isinstance(node, list | tuple) else children
    for key, child in children:
        if key == "init_cfg":
            for place, each in _each(f"{path}.init_cfg", child):
                yield place, each, INITIALIZER if own else OTHERS_INITIALIZER
        else:
            yield from _initializers(f"{path}.{key}", child)


def _each(path: str, node: Any, *, within: bool = False) -> Iterator[tuple[str, Any]]:
    """Yields a mapping, or the mappings in a list, with their places.

    Args:
        within: of a mapping, those in it.
    """
    if isinstance(node, Mapping) and not within:
        yield path, node
    pairs: Any = node.items() if isinstance(node, Mapping) and within else ()
    pairs = enumerate(node) if isinstance(node, list | tuple) else pairs
    for key, child in pairs:
        if isinstance(child, Mapping):
            yield f"{path}.{key}", child


def _names(known: Registry) -> Iterator[str]:
    """Yields the names in a registry and in those of its scopes, as a config writes them."""
    yield from known.module_dict
    for scope, child in known.children.items():
        yield from child.module_dict
        yield from (f"{scope}.{name}" for name in child.module_dict)
