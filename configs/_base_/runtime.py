"""MMDetection's hooks and logging, the registration of the backbone, and TensorBoard."""

_base_ = "mmdet::_base_/default_runtime.py"

custom_imports = dict(imports=["resnext_backbones.adapters.openmmlab"], allow_failed_imports=False)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))
vis_backends = [dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")]
visualizer = dict(vis_backends=vis_backends)
