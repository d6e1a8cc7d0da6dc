"""Detectron2's doors take whole files only, and run nothing."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from crafted import legacy, modern
from helpers import SMALL, quick, randomise
from helpers import small as small_trunk
from hostile import MARK
from weight_files import BAD

pytest.importorskip("detectron2", reason="Detectron2 is not installed")

from safetensors.torch import load_file
from torch import nn

from resnext_backbones.adapters.detectron2 import ResNeXtBackbone
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.detectron2 import Request
from resnext_backbones.tasks.detectron2.checkpoints import SafeCheckpointer
from resnext_backbones.tasks.detectron2.checks import check_weights
from resnext_backbones.tasks.detectron2.experiments import Experiment
from resnext_backbones.variants import VARIANTS
from resnext_backbones.weights import WeightsError, sources

LAZY, NETWORK = "mask_rcnn_fpn_1x", "resnext50_32x4d"
UP = "model.backbone.bottom_up"
TINY = (
    f"{UP}.depth=[1,1,2,1]", f"{UP}.num_groups=4", f"{UP}.width_per_group=4",
    f"{UP}.stem_out_channels=16", f"{UP}.res2_out_channels=64", f"{UP}.freeze_at=0",
)  # fmt: skip
State = dict[str, torch.Tensor]


def started(checkpoint: object) -> Experiment:
    return Request(
        LAZY, (*TINY, f"train.init_checkpoint={checkpoint}"), variant=NETWORK
    ).experiment()


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VARIANTS, "small_4x4d", SMALL)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def whole() -> State:
    """All tensors of a detector, by Detectron2's names."""
    own = started("absent.pth").detector().state_dict()
    return {key: torch.rand(value.shape) for key, value in own.items()}


@pytest.mark.whole
@pytest.mark.parametrize("suffix", ["pth", "pkl"])
def test_the_backbones_door_and_the_checkpointers(suffix: str) -> None:
    state = small_trunk().state_dict()
    for number, (what, make) in enumerate(BAD.items()):
        path = Path(f"{number}.{suffix}").absolute()
        path.write_bytes(make(state))
        with pytest.raises((WeightsError, InputError), match=path.name):
            ResNeXtBackbone(variant="small_4x4d", weights=path)
        with pytest.raises((WeightsError, InputError), match=path.name):
            check_weights(started(path))
        if ":" in what:  # it is asked for other backbones too, of which nothing is checked
            with pytest.raises(WeightsError, match=path.name):
                SafeCheckpointer(nn.Linear(1, 1)).load(str(path))
        assert not MARK.exists(), what


KINDS: dict[str, Callable[[State], bytes]] = {
    "model.pth": lambda state: modern({"model": state, "iteration": 3}),
    "old.pth": lambda state: legacy({"model": state}),
    "plain.pth": modern,
    "zoo.pkl": lambda state: pickle.dumps({
        "model": {k: v.numpy() for k, v in state.items()}, "__author__": "someone"
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", quick(KINDS, ["zoo.pkl"]))
def test_a_whole_detector_is_loaded_as_detectron2_does(name: str, whole: State) -> None:
    Path(name).write_bytes(KINDS[name](whole))
    # Random values are no variances: they are finite, which is all that is asked.
    experiment = started(name)
    check_weights(experiment, evaluate=True, allow_mismatch=True)
    model = randomise(experiment.detector(), seed=3)
    SafeCheckpointer(model).load(name)
    assert all(value.equal(whole[key]) for key, value in model.state_dict().items())


def test_what_the_checkpointer_would_leave_out_is_refused(whole: State) -> None:
    torch.save(small_trunk().state_dict(), "trunk.pth")
    with pytest.raises(InputError, match=r"goes by its own names, would leave .* --weights"):
        check_weights(started("trunk.pth"))
    check_weights(started("trunk.pth"), allow_mismatch=True)
    head = next(key for key in whole if key.startswith("roi_heads.box_predictor"))
    torch.save({"model": {**whole, head: whole[head][:3]}}, "classes.pth")
    check_weights(started("classes.pth"), allow_mismatch=True)  # another number of classes
    for mode in ("evaluate", "resume"):
        with pytest.raises(InputError, match=rf"{head} \(3"):
            check_weights(started("classes.pth"), allow_mismatch=True, **{mode: True})
    torch.save({"model": {**whole, head: whole[head] * torch.nan}}, "nan.pth")
    with pytest.raises(InputError, match=f"1 with NaN or infinity: {head}"):
        check_weights(started("nan.pth"), allow_mismatch=True)


def test_a_folder_of_save_pretrained_is_the_trunks() -> None:
    randomise(small_trunk()).save_pretrained("saved")
    overrides = (*TINY, "train.init_checkpoint=saved")
    experiment = Request(LAZY, (*overrides, "train.device=cpu"), variant=NETWORK).experiment()
    assert (experiment.weights, experiment.checkpoint) == ("saved", "")
    check_weights(experiment, allow_mismatch=True)
    model = experiment.build()
    saved = load_file("saved/model.safetensors")
    own = model.backbone.bottom_up.trunk.state_dict()
    assert all(value.equal(saved[key]) for key, value in own.items())
    with pytest.raises(InputError, match=r"model.safetensors: .* no detector"):
        check_weights(
            Request(LAZY, overrides, variant=NETWORK, eval_only=True).experiment(),
            evaluate=True,
            allow_mismatch=True,
        )
    Path("empty").mkdir()
    with pytest.raises(WeightsError, match=r"empty: is a folder without model.safetensors"):
        check_weights(started("empty"))


def test_a_file_on_the_hub_is_a_checkpoint(whole: State, monkeypatch) -> None:
    torch.save({"model": whole}, "detector.pth")
    monkeypatch.setattr(sources, "from_hub", lambda _, name: Path(name).absolute())
    experiment = started("hf://owner/name/detector.pth")
    assert experiment.checkpoint == str(Path("detector.pth").absolute())
    check_weights(experiment, evaluate=True, allow_mismatch=True)
    with pytest.raises(WeightsError, match="use hf://OWNER/REPOSITORY/FILE"):
        started("hf://owner/name")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {"a": torch.zeros(1), "b": {"c": torch.zeros(1)}}}, "b is a dict"),
        ({"model": [torch.zeros(1)]}, "a list in place of weights"),
        ({"epoch": 3}, "epoch is a int"),
    ],
)
@pytest.mark.parametrize("suffix", ["pth", "pkl"])
def test_a_file_with_anything_but_tensors_is_refused(
    suffix: str, content: dict[str, object], message: str
) -> None:
    """Detectron2 ends in a ValueError."""
    path = Path(f"other.{suffix}")
    if suffix == "pkl":
        path.write_bytes(pickle.dumps({"__author__": "somebody", "model": content} | content))
    else:
        torch.save(content, path)
    with pytest.raises(WeightsError, match=f"^weights {path}: .*{message}"):
        SafeCheckpointer(nn.Linear(1, 1)).load(str(path))
