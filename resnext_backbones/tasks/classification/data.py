"""Labelled images are read here, drawn more than once in an epoch, and put into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import torch
from mmengine.dataset import DefaultSampler
from PIL import Image
from torch.utils.data import Dataset, default_collate
from torchvision.transforms import v2

from resnext_backbones.adapters.registry import DATA_SAMPLERS, DATASETS, FUNCTIONS, TRANSFORMS
from resnext_backbones.engine.seeds import Draw
from resnext_backbones.errors import InputError
from resnext_backbones.tasks.classification import sources

STAND_IN_SIZE = (256, 256)  # pixels of a black image where no other's are known
NEAR = 16  # so many images are looked at for these


def build_pipeline(steps: Sequence[dict[str, Any]]) -> v2.Compose:
    """Returns the transforms of a config, from an image of Pillow's to a tensor of bytes."""
    return v2.Compose([TRANSFORMS.build(dict(step)) for step in steps])


@DATASETS.register_module()
class LabelledImages(Dataset):
    """Reads images of a folder a class, of a flat folder with a list, or of torchvision's CIFAR.

    Args:
        pipeline: transforms, from an image of Pillow's to a tensor (3, H, W) of bytes.
        class_list: a file of the classes to take, by number; None is all of them, sorted.
            torchvision's format has all of its own.
        ground_truth, ground_truth_classes: of a flat folder, as `flat_folder` takes them.
        stored_as: `folders`, or `cifar10` or `cifar100` for torchvision's format.
        train: which part of the latter. In training a broken image is replaced by the next one; in
            evaluation, which counts each image once, by a black one.
    """

    def __init__(
        self,
        root: str,
        pipeline: Sequence[dict[str, Any]],
        *,
        class_list: str | None = None,
        ground_truth: str | None = None,
        ground_truth_classes: str | None = None,
        stored_as: str = "folders",
        train: bool = True,
    ) -> None:
        if stored_as in sources.CIFAR and not ground_truth:
            self.images = sources.cifar(root, stored_as, train=train, class_list=class_list)
        elif stored_as != "folders":
            if ground_truth:
                raise InputError(f"ground truth {ground_truth}: is not for stored_as={stored_as!r}")
            raise InputError(f"stored_as {stored_as!r}: use folders, cifar10 or cifar100")
        elif ground_truth:
            self.images = sources.flat_folder(root, ground_truth, class_list, ground_truth_classes)
        else:
            self.images = sources.folder_a_class(root, class_list)
        self.transform = build_pipeline(pipeline)
        self.metainfo = {"classes": tuple(self.images.classes)}
        self.train = train

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns `inputs` (3, H, W) in bytes, `labels`, the image's `name`, and in `broken` a line
        for each that cannot be read.
        """
        broken: list[str] = []
        for offset in range(len(self)):
            i = (index + offset) % len(self)
            try:
                with self.images.open(i) as image:
                    inputs = self.transform(image)
            except InputError as error:
                broken.append(str(error))
                if self.train:
                    continue
                inputs = self.transform(Image.new("RGB", self._size_near(i)))
            label, name = torch.tensor(self.images.labels[i]), self.images.names[i]
            return {"inputs": inputs, "labels": label, "name": name, "broken": "\n".join(broken)}
        raise InputError(f"image {self.images.names[0]}: it and all others cannot be read")

    def _size_near(self, index: int) -> tuple[int, int]:
        """Returns the size of the next image that can be read: all may have the same."""
        for offset in range(1, min(NEAR, len(self))):
            with suppress(InputError), self.images.open((index + offset) % len(self)) as image:
                return image.size
        return STAND_IN_SIZE


@DATA_SAMPLERS.register_module()
class RepeatedAugmentationSampler(DefaultSampler):
    """Draws `repeats` augmentations of each image one after another, over all ranks.

    As Hoffer et al. (2020). An epoch has as many steps as without, so it sees a part of the images.
    All other options are those of MMEngine's `DefaultSampler`.
    """

    def __init__(self, *args: Any, repeats: int = 4, **options: Any) -> None:
        super().__init__(*args, **options)
        if repeats < 1:
            raise ValueError(f"repeats must be at least 1, got {repeats}")
        self.repeats = repeats

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.dataset), generator=generator).tolist()
        needed = -(-self.total_size // self.repeats)
        order = (order * (needed // len(order) + 1))[:needed]
        draws = (Draw.of(index, copy) for index in order for copy in range(self.repeats))
        return islice(draws, self.rank, self.total_size, self.world_size)


@FUNCTIONS.register_module()
def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns samples as a batch, whose `inputs` (N, 3, H, W) are in channels_last order.

    Pillow's pixels are, and the network's are to be, so that none is moved on the way. InputError:
    they differ in size.
    """
    sizes = {tuple(sample["inputs"].shape): sample["name"] for sample in samples}
    if len(sizes) > 1:
        (one, first), (other, second), *_ = sizes.items()
        raise InputError(
            f"images {first} and {second}: are {one[2]} x {one[1]} and {other[2]} x {other[1]} "
            "pixels, and a batch takes one size; begin the pipeline with "
            "resnext_backbones.CenterCrop or RandomResizedCrop"
        )
    samples = [{key: value for key, value in s.items() if key != "name"} for s in samples]
    batch = default_collate([s | {"inputs": s["inputs"].permute(1, 2, 0)} for s in samples])
    return batch | {"inputs": batch["inputs"].permute(0, 3, 1, 2)}


def count_images(dataset: Any) -> int:
    """Returns how many all processes have together; a stream's length is that of one's part."""
    return getattr(dataset, "total", None) or len(dataset)
