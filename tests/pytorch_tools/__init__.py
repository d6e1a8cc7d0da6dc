"""The tools of PyTorch that `models/test_pytorch_tools.py` tries, by the words of
docs/pytorch_tools.md."""

from pytorch_tools import changed, differentiated, traced, trained  # noqa: F401
from pytorch_tools.table import TOOLS as TOOLS
