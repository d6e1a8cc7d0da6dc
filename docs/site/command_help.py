"""The directive `command-help` writes what `resnext COMMAND --help` prints, of every command."""

from __future__ import annotations

import os
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive

from resnext_backbones.cli import COMMANDS, command_parser


class CommandHelp(Directive):
    """A section a command, each with its help."""

    def run(self) -> list[nodes.Node]:
        os.environ["COLUMNS"] = "80"  # argparse's help is as wide as the terminal
        return [self._section(name) for name in COMMANDS]

    def _section(self, name: str) -> nodes.section:
        words = f"resnext {name}"
        section = nodes.section(ids=[f"resnext-{name}"], names=[words])
        text = command_parser(name, words).format_help()
        section += [nodes.title(text=words), nodes.literal_block(text, text, language="none")]
        return section


def setup(app: Any) -> dict[str, bool]:
    """Is called by Sphinx."""
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True}
