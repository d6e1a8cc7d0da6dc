"""ResNet strikes back, A2: 300 epochs, and what else A1 has otherwise; Wightman et al. (2021).

Made for 256 images on each of 8 GPUs.
"""

_base_ = "./a1.py"

max_epochs = 300

model = dict(label_smoothing=0.0, data_preprocessor=dict(mixup=0.1))
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(weight_decay=0.02))
param_scheduler = [
    # The whole rate comes with the first epoch behind the warm-up, which MMEngine counts in.
    dict(type="LinearLR", start_factor=1e-4, begin=0, end=_base_.warmup_epochs + 1),
    dict(
        type="CosineAnnealingLR",
        T_max=max_epochs - _base_.warmup_epochs,
        begin=_base_.warmup_epochs,
        end=max_epochs,
    ),
]
