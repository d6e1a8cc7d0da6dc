"""What is frozen stays so, and costs nothing."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from helpers import small
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torchvision.ops import StochasticDepth

from resnext_backbones import ResNeXt


def frozen_state(model: nn.Module) -> dict[str, tuple[bool, bool]]:
    """For each module with parameters of its own: whether they train, whether it is training."""
    return {
        name: (next(module.parameters(recurse=False)).requires_grad, module.training)
        for name, module in model.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    }


def expected_state(model: ResNeXt, mode: bool) -> dict[str, tuple[bool, bool]]:
    frozen = {-1: (), 0: ("conv1", "bn1"), 2: ("conv1", "bn1", "layer1.", "layer2.")}
    names = frozen[model.frozen_stages]
    expected = {}
    for name, module in model.named_modules():
        if any(True for _ in module.parameters(recurse=False)):
            is_frozen = name.startswith(names) if names else False
            still = is_frozen or (model.norm_eval and isinstance(module, nn.BatchNorm2d))
            expected[name] = (not is_frozen, mode and not still)
    return expected


@pytest.mark.parametrize("norm_eval", [False, True])
@pytest.mark.parametrize("frozen_stages", [-1, 0, 2])
def test_frozen_parts_stay_frozen(frozen_stages: int, norm_eval: bool) -> None:
    model = small(frozen_stages=frozen_stages, norm_eval=norm_eval)
    assert frozen_state(model) == expected_state(model, True)
    assert model.eval() is model
    assert model.train() is model
    for changed in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        model.to(torch.float64).to(torch.float32),
        model.eval().train(),
    ):
        assert frozen_state(changed) == expected_state(model, True)
        assert frozen_state(copy.deepcopy(changed).eval()) == expected_state(model, False)


THAWED = {
    "all": lambda m: m.requires_grad_(True),
    "a stage": lambda m: m.layer1.requires_grad_(True),
    "a block": lambda m: m.layer3[1].requires_grad_(True),
    "a norm": lambda m: m.layer1[0].bn2.requires_grad_(True),
    "a convolution": lambda m: m.layer1[0].conv2.requires_grad_(True),
    "a new module": lambda m: m.layer1.append(nn.Conv2d(64, 64, 1))[-1],
}


@pytest.mark.parametrize("what", THAWED)
def test_what_is_thawed_stays_so_in_every_epoch(what: str) -> None:
    model = small(frozen_stages=3, drop_path=0.1)
    thawed = THAWED[what](model)
    for _ in range(2):
        with pytest.warns(UserWarning, match="frozen by frozen_stages, but holding parameters"):
            model.train()
        trained = [part for part in thawed.modules() if any(True for _ in part.parameters())]
        trained += [part for part in thawed.modules() if isinstance(part, StochasticDepth)]
        assert all(part.training for part in trained)
        assert all(parameter.requires_grad for parameter in thawed.parameters())
        model.eval()
    inside = {id(part) for part in thawed.modules()}
    for module in model.frozen_modules().values():
        for part in module.modules():
            if id(part) not in inside and isinstance(part, nn.BatchNorm2d):
                assert not part.training
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.warns(UserWarning, match="these are trained"):
        model.train()
    sum(output.mean() for output in model(torch.randn(2, 3, 64, 64))).backward()
    assert all(parameter.grad is not None for parameter in thawed.parameters())
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    statistics = {k for k in moved if k.endswith("running_mean") and not k.startswith("layer4")}
    assert bool(statistics) == (what not in ("a convolution", "a new module"))


@pytest.mark.filterwarnings("error")
def test_another_number_freezes_more_from_the_next_call_on() -> None:
    """As MMDetection's users and hooks do it."""
    model = small(frozen_stages=0)
    model.frozen_stages = 2
    assert frozen_state(model.train()) == expected_state(model, True)
    model.frozen_stages = -1
    model.requires_grad_(True).train()
    assert frozen_state(model) == expected_state(model, True)


def test_frozen_parts_survive_ddp(tmp_path) -> None:
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        model = small(frozen_stages=2, norm_eval=True)
        before = {k: v.clone() for k, v in model.state_dict().items()}
        wrapped = DistributedDataParallel(model).train()
        optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            sum(output.mean() for output in wrapped(torch.randn(2, 3, 64, 64))).backward()
            optimizer.step()
        assert frozen_state(model) == expected_state(model, True)
        changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
        assert changed
        assert all(name.startswith(("layer3", "layer4")) for name in changed)
        assert not any("running" in name for name in changed)
    finally:
        torch.distributed.destroy_process_group()


def test_frozen_parts_keep_nothing_for_the_backward_pass() -> None:
    images = torch.randn(1, 3, 64, 64)

    def kept(model: ResNeXt) -> int:
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
            outputs = model(images)
        del outputs
        return len(saved)

    assert kept(small(frozen_stages=4)) == 0
    assert kept(small(frozen_stages=0, out_indices=(0,))) > 0
    outputs = small(frozen_stages=1)(images)
    assert [output.requires_grad for output in outputs] == [False, True, True, True]
