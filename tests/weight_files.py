"""Files of one state dict: as programs write them, and as no door may take them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from crafted import Calls, legacy, legacy_of, modern, pickled, zip_of
from hostile import ATTACKS
from safetensors.torch import save
from torch import Tensor

State = dict[str, Tensor]


def without(state: State, *parts: str) -> State:
    return {key: value for key, value in state.items() if not any(part in key for part in parts)}


def changed(state: State, end: str, change: Callable[[Tensor], Tensor]) -> State:
    """The same with another tensor, of the only key that ends so."""
    (key,) = [key for key in state if key.endswith(end)]
    return {**state, key: change(state[key])}


def attack(state: State, name: str) -> bytes:
    """A pickle with a tensor's values that also calls a function."""
    key, value = next(iter(state.items()))
    return pickled({"state_dict": {key: value.tolist()}, "more": Calls(*ATTACKS[name])})


BAD: dict[str, Callable[[State], bytes]] = {
    **{
        f"{kind}: {name}": lambda state, name=name, wrap=wrap: wrap(attack(state, name))
        for kind, wrap in (("zip", zip_of), ("old", legacy_of), ("pickle", bytes))
        for name in ("os.system", "open", "eval")
    },
    "half of the trunk": lambda state: modern(without(state, "layer3.", "layer4.")),
    "one tensor less": lambda state: modern(without(state, "layer2.0.bn2.weight")),
    "another network": lambda state: modern(
        {key: value.repeat_interleave(2, 0) for key, value in state.items() if value.dim()}
    ),
    "another shape": lambda state: modern(changed(state, "layer3.1.bn1.bias", lambda v: v[1:])),
    "NaN": lambda state: modern(changed(state, "layer1.0.bn1.bias", lambda v: v * torch.nan)),
    "a negative variance": lambda state: modern(
        changed(state, "layer1.0.bn1.running_var", lambda v: v - v.max() - 1)
    ),
    "integers": lambda state: modern(changed(state, "layer1.0.bn1.bias", lambda v: v.long())),
    "a page of the web": lambda _: b"<!DOCTYPE html><html><body>Sign in</body></html>",
    "truncated": lambda state: modern(state)[:-2000],
    "nothing": lambda _: b"",
    "no tensors": lambda _: modern({"state_dict": {"epoch": 3}, "meta": {}}),
}
"""No door takes these; each is made of a state dict."""

GOOD: dict[str, Callable[[State], bytes]] = {
    "torch.save": modern,
    "before 1.6": legacy,
    "safetensors": lambda state: save({k: v.contiguous() for k, v in state.items()}),
    "of a run": lambda state: modern({"state_dict": state, "meta": {"epoch": 1}, "optimizer": {}}),
    "of DistributedDataParallel": lambda state: modern(
        {"state_dict": {f"module.{key}": value for key, value in state.items()}}
    ),
}
"""Every door takes these."""
