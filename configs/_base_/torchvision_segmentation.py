"""torchvision's segmentation networks, by the recipe of its references/segmentation.

30 epochs, the rate falling as a polynomial; 0.02 for 32 images a step, and in proportion for
others; ten times the rate for the auxiliary classifier.
"""

_base_ = ["./torchvision.py"]

size = 520
train_dataloader = dict(
    batch_size=4, dataset=dict(type="resnext_backbones.ClassMasks", size=size, train=True)
)
val_dataloader = dict(
    **_base_.val_dataloader,
    dataset=dict(type="resnext_backbones.ClassMasks", size=size, train=False),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="resnext_backbones.PixelOverlap")
test_evaluator = val_evaluator

model = dict(
    type="resnext_backbones.TorchvisionSegmenter",
    backbone=dict(norm="BN", trainable_layers=5),
    num_classes=None,  # as many as the masks have
    output_stride=8,
)
optim_wrapper = dict(
    constructor="resnext_backbones.FewGroups",
    paramwise_cfg=dict(custom_keys=dict(aux_classifier=dict(lr_mult=10))),
)
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=30)
# Until the last epoch, whatever its number.
param_scheduler = [
    dict(type="resnext_backbones.PolynomialLR", power=0.9, convert_to_iter_based=True)
]
auto_scale_lr = dict(enable=True, base_batch_size=32)
