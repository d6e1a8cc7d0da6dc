"""MMDetection's hooks and logging, the registration of the backbone, and TensorBoard.

The hook checks, also where MMDetection's own tool trains, that the pixels are those that the
backbone's weights expect.
"""

_base_ = "mmdet::_base_/default_runtime.py"

custom_imports = dict(
    imports=["resnext_backbones.adapters.openmmlab", "resnext_backbones.tasks.mmdetection.hooks"],
    allow_failed_imports=False,
)
custom_hooks = [dict(type="resnext_backbones.CheckWeightsHook")]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))
vis_backends = [dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")]
visualizer = dict(vis_backends=vis_backends)
