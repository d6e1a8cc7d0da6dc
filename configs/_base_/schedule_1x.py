"""12 epochs; the learning rate is for 16 images a step and scales with the real batch: on two nodes
with 8 GPUs and 2 images each it is twice as high.
"""

_base_ = "mmdet::_base_/schedules/schedule_1x.py"

auto_scale_lr = dict(enable=True)
