"""MMEngine's registries in a scope of their own: `resnext_backbones.NAME` in a config.

MMDetection has a `ResNeXt` as well, and keeps it.
"""

import resnext_backbones.adapters.distributions  # noqa: F401

from mmengine import registry
from mmengine.registry import Registry

SCOPE = "resnext_backbones"


def _child(parent: Registry) -> Registry:
    return Registry(parent.name, parent=parent, scope=SCOPE)


DATASETS = _child(registry.DATASETS)
DATA_SAMPLERS = _child(registry.DATA_SAMPLERS)
FUNCTIONS = _child(registry.FUNCTIONS)
HOOKS = _child(registry.HOOKS)
LOOPS = _child(registry.LOOPS)
METRICS = _child(registry.METRICS)
MODELS = _child(registry.MODELS)
OPTIMIZERS = _child(registry.OPTIMIZERS)
OPTIM_WRAPPER_CONSTRUCTORS = _child(registry.OPTIM_WRAPPER_CONSTRUCTORS)
OPTIM_WRAPPERS = _child(registry.OPTIM_WRAPPERS)
PARAM_SCHEDULERS = _child(registry.PARAM_SCHEDULERS)
TRANSFORMS = _child(registry.TRANSFORMS)
