"""100 epochs with AdamW, and the averages of the weights (EMA), which are evaluated.

Learning rate and weight decay are those with which MMDetection's resnet_strikes_back trains from
weights of the recipe `a1`, for 16 images a step: 41.2 box and 38.2 mask AP of Mask R-CNN R-50 in
12 epochs. SGD with 0.02, with which detectors train from older weights, is not for these. It scales
with the real batch. It is divided by 10 after 88 and after 96 epochs, as in strong_baselines.
"""

_base_ = "./schedule_1x.py"

train_cfg = dict(max_epochs=100, val_interval=5)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=0.0002, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bypass_duplicate=True),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type="MultiStepLR", begin=0, end=100, by_epoch=True, milestones=[88, 96], gamma=0.1),
]
# Running statistics are averaged with the weights, to which they belong.
ema = dict(type="EMAHook", ema_type="ExpMomentumEMA", momentum=0.0002, update_buffers=True)
