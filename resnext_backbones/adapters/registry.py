"""MMEngine's registries have a scope of their own here: `resnext_backbones.NAME` in a config.

MMDetection has a `ResNeXt` as well, and keeps it.
"""

import resnext_backbones.adapters.distributions  # noqa: F401

from mmengine import registry
from mmengine.registry import Registry


def __getattr__(name: str) -> Registry:
    """Returns the one child of MMEngine's registry of that name, such as `MODELS`."""
    parent: Registry = getattr(registry, name)
    child = globals()[name] = Registry(parent.name, parent=parent, scope="resnext_backbones")
    return child
