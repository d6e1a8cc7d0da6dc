"""mmcv's operators on torchvision's and PyTorch's, where none are compiled.

Importing this package makes `mmcv.ops` importable, and with it MMDetection. The environment
variable RESNEXT_MMCV_OPS chooses the operators: `auto`, the default, takes compiled ones that fit
this torch and its devices, `torchvision` never takes them, `compiled` nothing else.
"""

import resnext_backbones.adapters.distributions  # noqa: F401

from resnext_backbones.mmcv_ops.absent import OperatorAbsent, check_operators
from resnext_backbones.mmcv_ops.choice import Operators, install

__all__ = ["OPERATORS", "OperatorAbsent", "Operators", "check_operators", "install"]

OPERATORS = install()
"""The operators that are in use."""
