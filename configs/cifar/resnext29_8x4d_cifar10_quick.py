r"""A small ResNeXt-29 on CIFAR-10, for the processor of a laptop: 8 groups of 4 channels.

python tools/pretrain_imagenet.py configs/cifar/resnext29_8x4d_cifar10_quick.py \
    --data-root data/cifar10 --amp bf16
"""

_base_ = "../_base_/cifar.py"

max_epochs = 7
num_workers = 2

train_dataloader = dict(num_workers=num_workers, pin_memory=False)
val_dataloader = dict(num_workers=num_workers, pin_memory=False)
model = dict(
    network=dict(blocks=(3, 3, 3), cardinality=8, base_width=4, base_channels=16, stem="3x3")
)
train_cfg = dict(max_epochs=max_epochs)
warmup_epochs = 1
param_scheduler = [
    dict(
        type="LinearLR",
        start_factor=0.05,
        begin=0,
        end=warmup_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type="CosineAnnealingLR",
        T_max=max_epochs - warmup_epochs,
        begin=warmup_epochs,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
