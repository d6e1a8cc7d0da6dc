"""A small ResNeXt-29 trains on CIFAR-10 for 7 epochs, on the processor of a laptop.

resnext pretrain cifar/cifar10_quick --data-root data/cifar10 --amp bf16
resnext pretrain cifar/cifar10_quick --variant resnext29_16x3d --data-root data/cifar10 --amp bf16

Images are padded with black.
"""

_base_ = "./cifar10.py"

warmup_epochs = 1
num_workers = 2
networks = dict(
    resnext29_8x4d=dict(cardinality=8, base_width=4),
    # Of equal multiply-adds, which show what cardinality is worth: `python -m benchmarks.seeds`.
    resnext29_1x23d=dict(cardinality=1, base_width=23),
    resnext29_4x9d=dict(cardinality=4, base_width=9),
    resnext29_16x3d=dict(cardinality=16, base_width=3),
)

train_dataloader = dict(
    num_workers=num_workers,
    pin_memory=False,
    dataset=dict(
        pipeline=[
            dict(type="resnext_backbones.RandomCrop", size=32, padding=4),
            dict(type="resnext_backbones.RandomHorizontalFlip"),
            dict(type="resnext_backbones.PILToTensor"),
        ],
    ),
)
val_dataloader = dict(num_workers=num_workers, pin_memory=False)
model = dict(
    network=dict(
        _delete_=True,
        blocks=(3, 3, 3),
        base_channels=16,
        stem="3x3",
        **networks["resnext29_8x4d"],
    )
)
train_cfg = dict(max_epochs=7)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, end=warmup_epochs, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", begin=warmup_epochs, convert_to_iter_based=True),
]
