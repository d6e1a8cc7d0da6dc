"""MMEngine's runner trains the classifier like this: pixels to the device, loss, predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor, BaseModel
from torch import Tensor, nn
from torchvision.transforms import v2

from resnext_backbones.adapters.registry import MODELS
from resnext_backbones.build import architecture_and_options
from resnext_backbones.models import ResNeXtClassifier

TOP = 5


@MODELS.register_module()
class BatchPreprocessor(BaseDataPreprocessor):
    """Normalises a batch of bytes where the model is, and mixes images while it trains.

    Args:
        mean, std: of each channel, for values from 0 to 255.
        num_classes: of the labels that are mixed; `ImageClassifier` gives its own.
        mixup: alpha of mixup, Zhang et al. (2018), 2.2; 0 is none.
        cutmix: alpha of CutMix, Yun et al. (2019), 3.1; with both, one is drawn for each batch.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        num_classes: int = 1000,
        mixup: float = 0,
        cutmix: float = 0,
    ) -> None:
        super().__init__(non_blocking=True)  # pinned batches, while the step before still runs
        for name, values in (("mean", mean), ("std", std)):
            tensor = torch.tensor(values, dtype=torch.float32).reshape(-1, 1, 1)
            self.register_buffer(name, tensor, persistent=False)
        alphas = ((v2.MixUp, float(mixup)), (v2.CutMix, float(cutmix)))
        mixers = [kind(alpha=alpha, num_classes=num_classes) for kind, alpha in alphas if alpha]
        self.mixer = v2.RandomChoice(mixers) if mixers else None

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Returns `inputs` (N, 3, H, W) as floats in channels_last order, and `labels`: (N,), or
        their shares (N, classes) where images were mixed.
        """
        cast = self.cast_data({"inputs": data["inputs"], "labels": data["labels"]})
        images, labels = cast["inputs"], cast["labels"]
        images = images.to(memory_format=torch.channels_last).float()
        images = images.sub_(self.mean).div_(self.std)
        if training and self.mixer is not None:
            images, labels = self.mixer(images, labels)
        return {"inputs": images, "labels": labels}


@MODELS.register_module()
class ImageClassifier(BaseModel):
    """Trains a `ResNeXtClassifier` by a loss.

    Args:
        network: options of `ResNeXtClassifier`, with the name of a `variant`, or with the fields of
            `Architecture`, or with both.
        num_classes: of the head.
        loss: `cross_entropy`, or `binary` for one decision a class (Wightman et al., 2021, 2.2).
        label_smoothing: share of the target that all classes divide among them.
        compiled: by `torch.compile`.
        data_preprocessor: of `BatchPreprocessor`.
    """

    def __init__(
        self,
        network: dict[str, Any],
        *,
        num_classes: int,
        loss: str = "cross_entropy",
        label_smoothing: float = 0,
        compiled: bool = False,
        data_preprocessor: dict[str, Any] | nn.Module | None = None,
    ) -> None:
        if isinstance(data_preprocessor, dict):
            kind = data_preprocessor.get("type")
            if (MODELS.get(kind) if isinstance(kind, str) else kind) is BatchPreprocessor:
                data_preprocessor = {**data_preprocessor, "num_classes": num_classes}
        super().__init__(data_preprocessor)
        if loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
        options = dict(network)
        architecture, rest = architecture_and_options(options.pop("variant", None), options)
        self.network = ResNeXtClassifier(architecture, num_classes=num_classes, **rest)
        if compiled:
            self.network.compile()
        self.loss, self.label_smoothing = LOSSES[loss], label_smoothing

    def forward(self, inputs: Tensor, labels: Tensor | None = None, mode: str = "tensor") -> Any:
        """Returns logits (N, classes); in `loss` mode the loss; in `predict` mode a place for each
        image: how many classes come before the right one, at most `TOP`.
        """
        logits = self.network(inputs)
        if mode == "tensor":
            return logits
        assert labels is not None
        if mode == "loss":
            return {"loss": self.loss(logits.float(), labels, label_smoothing=self.label_smoothing)}
        own = logits.gather(1, labels[:, None])
        places = (~(logits <= own)).sum(1).clamp(max=TOP)  # which a NaN is not
        return [{"place": place} for place in places.tolist()]


def binary(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Returns the loss of one decision a class; a mixed image is of both of its classes."""
    if labels.dim() == 1:
        labels = F.one_hot(labels, logits.shape[1])
    targets = (labels > 0).to(logits.dtype)
    targets = targets * (1 - label_smoothing) + label_smoothing / logits.shape[1]
    return F.binary_cross_entropy_with_logits(logits, targets)


LOSSES: dict[str, Callable[..., Tensor]] = {"cross_entropy": F.cross_entropy, "binary": binary}
