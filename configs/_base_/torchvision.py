"""Torchvision's networks share this: SGD, how they are logged and kept."""

custom_imports = dict(
    imports=["resnext_backbones.tasks.torchvision.run"], allow_failed_imports=False
)
default_scope = "mmengine"

loader = dict(
    num_workers=2,
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type="resnext_backbones.collate_lists"),
)
train_dataloader = dict(
    batch_size=2,
    drop_last=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    **loader,
)
# Each image is evaluated once, by one of the processes.
val_dataloader = dict(
    batch_size=1,
    sampler=dict(type="DefaultSampler", shuffle=False, round_up=False),
    **loader,
)
model = dict(
    data_preprocessor=dict(
        type="resnext_backbones.ImagesPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    ),
)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.02, momentum=0.9, weight_decay=1e-4),
)

default_hooks = dict(
    runtime_info=dict(type="RuntimeInfoHook"),
    timer=dict(type="IterTimerHook"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    logger=dict(type="LoggerHook", interval=20),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=3),
)
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
log_processor = dict(window_size=20)
vis_backends = [dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")]
visualizer = dict(type="Visualizer", vis_backends=vis_backends)
log_level = "INFO"
load_from = None
resume = False
randomness = dict(seed=0)
