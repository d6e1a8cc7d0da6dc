r"""What the configs of MMDetection's detectors share beside model, data and schedule: hooks and
logging, the registration of the backbone, and TensorBoard.

One node with 8 GPUs, 2 images each:
    torchrun --nproc_per_node 8 tools/train.py configs/CONFIG.py
Two such nodes, on each, with NODE 0 and 1 and HOST the first one's name:
    torchrun --nnodes 2 --node_rank NODE --nproc_per_node 8 \
        --master_addr HOST --master_port 29500 tools/train.py configs/CONFIG.py

`resnext list --configs` has what they should reach. The hook checks, also where MMDetection's own
tool trains, that the pixels are those that the backbone's weights expect.
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
