"""What annotations must be: one table of rules, each with what becomes of what breaks it."""

from resnext_backbones.data.rules.boxes import AREAS, BOXES
from resnext_backbones.data.rules.files import FILES
from resnext_backbones.data.rules.keypoints import KEYPOINTS
from resnext_backbones.data.rules.lists import LISTS
from resnext_backbones.data.rules.masks import MASKS
from resnext_backbones.data.rules.references import REFERENCES
from resnext_backbones.data.rules.rule import Finding, Outcome, Rule, Use

RULES: tuple[Rule, ...] = (*LISTS, *REFERENCES, *BOXES, *MASKS, *AREAS, *KEYPOINTS, *FILES)
"""All rules, in the order in which they fill in."""

__all__ = ["RULES", "Finding", "Outcome", "Rule", "Use"]
