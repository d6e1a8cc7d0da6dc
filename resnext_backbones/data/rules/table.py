"""The rules as a table of Markdown, for docs/annotations.md."""

from __future__ import annotations

from resnext_backbones.data.rules import RULES, Outcome, Rule

NEEDS = {
    "masks": "where masks are used",
    "keypoints": "where keypoints are used",
    "whole": "for training on it alone",
    "part": "for training on several",
    "evaluate": "for a metric",
}


def rules_table() -> str:
    """Returns a row for each rule, those that refuse first."""
    rows = ["| what | becomes | |", "|---|---|---|"]
    for outcome in Outcome:
        rows += [_row(rule) for rule in RULES if rule.outcome is outcome]
    return "\n".join(rows)


def _row(rule: Rule) -> str:
    becomes = rule.outcome.value
    if rule.needs:
        becomes += f" {NEEDS[rule.needs]}"
        if rule.otherwise:
            becomes += f", else {rule.otherwise.value}"
    who = "the file" if rule.of == "file" else f"{'an' if rule.of[0] in 'ai' else 'a'} {rule.of}"
    return f"| {who} {rule.says} | {becomes} | {rule.so} |"
