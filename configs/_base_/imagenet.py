r"""All recipes of imagenet/ share this: ImageNet-1k as train/ and val/ with a folder a class.

torchrun --nproc_per_node 8 tools/pretrain_imagenet.py configs/imagenet/RECIPE.py \
    --variant resnext101_32x4d --data-root imagenet --amp bf16

The learning rate follows the batch. `resnext list --configs imagenet` has what the networks should
reach.

The validation images in one folder, as they come, need two more keys in
val_dataloader.dataset: ground_truth, the official list of a class for each image, and
ground_truth_classes, a file that names the 1000 classes in the order that the list counts them in.
"""

_base_ = "./pretraining.py"

data_root = "data/imagenet"
num_classes = 1000
pixels = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])

train_dataloader = dict(
    dataset=dict(type="resnext_backbones.LabelledImages", root=data_root + "/train"),
)
val_dataloader = dict(
    batch_size=128,
    dataset=dict(type="resnext_backbones.LabelledImages", root=data_root + "/val", train=False),
)
model = dict(
    type="resnext_backbones.ImageClassifier",
    num_classes=num_classes,
    data_preprocessor=dict(type="resnext_backbones.BatchPreprocessor", **pixels),
)
