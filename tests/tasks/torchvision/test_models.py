"""The wrappers compute what torchvision's own networks do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers import randomise
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import DATASETS, MODELS
from torch import nn
from torch.nn.functional import cross_entropy
from torchvision.models.detection import MaskRCNN

from resnext_backbones.adapters.torchvision import resnext_fpn
from resnext_backbones.adapters.torchvision_detectors import AlignedRoIAlign, PreciseAnchors
from resnext_backbones.tasks.torchvision import models
from resnext_backbones.tasks.torchvision.instances import collate_lists
from resnext_backbones.tasks.torchvision.run import use_of, use_weights


def batch_of(cfg: Config, *, train: bool) -> dict[str, list[Any]]:
    loader = cfg.train_dataloader if train else cfg.val_dataloader
    dataset = DATASETS.build(loader.dataset)
    return collate_lists([dataset[i] for i in range(2)])


def built(cfg: Config, num_classes: int) -> nn.Module:
    cfg.model.num_classes = num_classes
    return randomise(MODELS.build(cfg.model))


def test_a_detectors_losses_and_findings_are_torchvisions(config: Callable[..., Config]) -> None:
    cfg = config("mask_rcnn_x50_32x4d_fpn_coco")
    model = built(cfg, 80)
    own = MaskRCNN(
        resnext_fpn(cfg.model.backbone.variant, norm="BN", trainable_layers=5),
        num_classes=81,
        min_size=64,
        max_size=80,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
        **cfg.model.options,
    )
    own.load_state_dict(
        {key.removeprefix("network."): value for key, value in model.state_dict().items()}
    )
    batch = batch_of(cfg, train=True)
    assert {image.dtype for image in batch["inputs"]} == {torch.uint8}
    images = [image / 255 for image in batch["inputs"]]
    torch.manual_seed(3)
    expected = own.train()(images, batch["targets"])
    torch.manual_seed(3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    found = model.train().train_step(batch, OptimWrapper(optimizer))
    assert found.keys() == {"loss", *expected}
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["loss"], sum(expected.values()), rtol=1e-4, atol=1e-5)
    own.load_state_dict({k.removeprefix("network."): v for k, v in model.state_dict().items()})
    batch = batch_of(cfg, train=False)
    results = model.eval().val_step(batch)
    with torch.no_grad():
        theirs = own.eval()([image / 255 for image in batch["inputs"]])
    for result, one, target in zip(results, theirs, batch["targets"], strict=True):
        assert result["image_id"] == target["image_id"]
        torch.testing.assert_close(result["boxes"], one["boxes"], rtol=1e-3, atol=1e-2)
        torch.testing.assert_close(result["scores"], one["scores"], rtol=1e-3, atol=1e-4)


def test_pools_and_anchors_may_be_those_of_the_others() -> None:
    for network, masks in (("faster_rcnn", False), ("mask_rcnn", True)):
        with torch.device("meta"):
            backbone = {"variant": "resnext26_32x4d"}
            model = models.TorchvisionDetector(network, backbone, 3, aligned=True).network
        assert isinstance(model.rpn.anchor_generator, PreciseAnchors)
        assert model.rpn.anchor_generator.strides == (4, 8, 16, 32, 64)
        pools = [model.roi_heads.box_roi_pool, model.roi_heads.mask_roi_pool][: 1 + masks]
        assert [type(pool) for pool in pools] == [AlignedRoIAlign] * len(pools)


def test_a_segmenters_losses_count_the_pixels_that_have_a_class(
    config: Callable[..., Config],
) -> None:
    """MMEngine adds up what has "loss" in its name, so both are to have it."""
    cfg = config("fcn_x50_32x4d_coco")
    model = built(cfg, 21)
    batch = batch_of(cfg, train=True)
    masks = torch.stack([target["mask"] for target in batch["targets"]])
    assert (masks == models.IGNORED).any()
    data = model.data_preprocessor(batch, True)
    model.eval()
    with torch.no_grad():
        losses = model(**data, mode="loss")
        outputs = model.network(torch.stack(data["inputs"]))
    assert losses.keys() == {"loss_out", "loss_aux"}
    for name, weight in (("out", 1), ("aux", 0.5)):
        expected = weight * cross_entropy(outputs[name], masks, ignore_index=models.IGNORED)
        torch.testing.assert_close(losses[f"loss_{name}"], expected)
    total, logged = model.parse_losses(losses)
    torch.testing.assert_close(total, losses["loss_out"] + losses["loss_aux"])
    assert logged["loss"] is total
    nothing = torch.full_like(masks, models.IGNORED)
    assert models.pixel_loss(outputs["out"], nothing) == 0, "not NaN"


def test_the_auxiliary_classifier_learns_ten_times_as_fast(config: Callable[..., Config]) -> None:
    cfg = config("fcn_x50_32x4d_coco")
    model = built(cfg, 21)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    assert len(groups) == 2, "fused optimisers launch their kernels for each group"
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        aux = name.startswith("network.aux_classifier.")
        assert rates[id(parameter)] == pytest.approx(0.2 if aux else 0.02), name


def test_what_a_config_leaves_out_is_what_the_network_has(config: Callable[..., Config]) -> None:
    """A detector's layers and norms are frozen then, and a segmentation network's are not."""
    for name, frozen, moves in (
        ("faster_rcnn_x50_32x4d_fpn_coco", {"trainable_layers": 3, "norm": "FrozenBN"}, False),
        ("fcn_x50_32x4d_coco", {}, True),
    ):
        cfg = config(name, weights=None)
        for key in ("trainable_layers", "norm"):
            del cfg.model.backbone[key]
        use = use_of(cfg)
        assert use is not None
        assert use.frozen == ", ".join(f"{key}={value}" for key, value in frozen.items())
        assert use.norms_move == moves
        trunk = models.find_trunk(built(cfg, 21))
        trunk.train()
        assert any(not value.requires_grad for value in trunk.parameters()) == bool(frozen)
        assert any(module.training for module in norms(trunk)) == moves
        assert use_weights(cfg, "none").endswith(
            ", ".join(
                f"{key} {value} -> {cfg.model.backbone[key]}" for key, value in frozen.items()
            )
            or "as the config has it"
        )


def norms(trunk: nn.Module) -> list[nn.Module]:
    """Those with the statistics of a batch, where they are in training."""
    return [module for module in trunk.modules() if isinstance(module, nn.BatchNorm2d)]


def test_bgr_weights_get_bgr_pixels(config: Callable[..., Config]) -> None:
    cfg = config()
    use_weights(cfg, "detectron2/X-101-32x8d")
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    image = torch.randint(0, 256, (3, 5, 7), dtype=torch.uint8)
    (found,) = preprocessor({"inputs": [image], "targets": [{}]})["inputs"]
    mean = torch.tensor([103.53, 116.28, 123.675])[:, None, None]
    std = torch.tensor([57.375, 57.12, 58.395])[:, None, None]
    torch.testing.assert_close(found, (image.flip(0) - mean) / std)


def test_boxes_stay_in_float32_in_mixed_precision(config: Callable[..., Config]) -> None:
    """bfloat16 knows every eighth pixel near 1333: what chooses boxes must not be in it."""
    cfg = config()
    model = built(cfg, 80).eval()
    seen: dict[str, torch.dtype] = {}
    network: Any = model.network

    def note(name: str) -> Callable[..., None]:
        return lambda _, __, outputs: seen.update({name: outputs[1][0].dtype})

    network.rpn.head.register_forward_hook(note("proposals"))
    network.roi_heads.box_predictor.register_forward_hook(note("boxes"))
    data = model.data_preprocessor(batch_of(cfg, train=False))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        model(**data, mode="predict")
        assert network.backbone(torch.rand(1, 3, 64, 64))["0"].dtype == torch.bfloat16
    assert seen == {"proposals": torch.float32, "boxes": torch.float32}
