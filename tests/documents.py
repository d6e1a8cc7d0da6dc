"""The documents' code blocks, and the command lines in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{p.name}" for p in sorted((ROOT / "docs").glob("*.md"))),
)


class Block(NamedTuple):
    """A fenced code block: of which page and line, its language, and its lines."""

    page: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


class Command(NamedTuple):
    """A command line, on one line and without its comment, and where it stands."""

    line: str
    place: str


@cache
def blocks() -> list[Block]:
    """All code blocks of all pages, indented ones with no language."""
    from markdown_it import MarkdownIt

    return [
        Block(page, token.map[0] + 1, token.info, token.content)
        for page in PAGES
        for token in MarkdownIt().parse((ROOT / page).read_text(encoding="utf-8"))
        if token.type in ("fence", "code_block")
    ]


def commands() -> Iterator[Command]:
    """The command lines of all shell blocks."""
    for block in blocks():
        if block.language == "sh":
            for line in re.sub(r"\\\n\s*", "", block.text).splitlines():
                if words := shlex.split(line, comments=True, posix=False):
                    yield Command(" ".join(words), block.place)
