"""A2 of ResNet strikes back is A1 in 300 epochs, with less mixup and no label smoothing.

Made for 256 images on each of 8 GPUs.
"""

_base_ = "./a1.py"

model = dict(label_smoothing=0.0, data_preprocessor=dict(mixup=0.1))
train_cfg = dict(max_epochs=300)
optim_wrapper = dict(optimizer=dict(weight_decay=0.02))
