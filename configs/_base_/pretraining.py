"""All pretraining is evaluated, logged and kept in this way."""

custom_imports = dict(
    imports=["resnext_backbones.tasks.classification.run"], allow_failed_imports=False
)
default_scope = "mmengine"

num_workers = 8
train_dataloader = dict(
    num_workers=num_workers,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    collate_fn=dict(type="resnext_backbones.collate"),
)
val_dataloader = dict(
    num_workers=num_workers,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="resnext_backbones.collate"),
)
val_evaluator = dict(type="resnext_backbones.Accuracy")
val_cfg = dict(type="resnext_backbones.ValLoop")

default_hooks = dict(
    runtime_info=dict(type="RuntimeInfoHook"),
    timer=dict(type="IterTimerHook"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    logger=dict(type="LoggerHook", interval=50),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=3, minutes=30),
)
custom_hooks = [
    dict(type="resnext_backbones.SpeedHook"),
    dict(type="resnext_backbones.PublishHook"),
    dict(type="resnext_backbones.BrokenImagesHook", limit=0.001),
]
# Norms go by the statistics of the first process: one set of them, whatever is resumed or saved.
model_wrapper_cfg = dict(type="MMDistributedDataParallel", broadcast_buffers=True)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
log_processor = dict(window_size=50)
vis_backends = [dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")]
visualizer = dict(type="Visualizer", vis_backends=vis_backends)
log_level = "INFO"
load_from = None
resume = False
randomness = dict(seed=0)
