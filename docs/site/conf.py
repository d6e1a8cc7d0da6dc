"""The site is README.md and docs/*.md, as they lie in the repository: `make docs`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]

from plotly.offline import get_plotlyjs  # noqa: E402
from sphinx.util.inspect import signature, stringify_signature  # noqa: E402

import resnext_backbones  # noqa: E402
from resnext_backbones.reports.page.write import PLOTLY  # noqa: E402

NAVIGATION = {
    "Start": ["docs/own_data", "docs/troubleshooting", "docs/upgrading"],
    "Train": [
        "docs/training",
        "docs/pretraining",
        "docs/annotations",
        "docs/images",
        "docs/clusters",
    ],
    "Frameworks": ["docs/detectron2", "docs/torchvision", "docs/transformers", "docs/timm"],
    "Your own detector": [
        "docs/custom_detector",
        "docs/export",
        "docs/pytorch_tools",
        "docs/mmcv_operators",
    ],
    "Reference": ["docs/weights", "docs/variants", "docs/commands", "docs/api", "docs/benchmarks"],
    "Project": ["CONTRIBUTING", "CHANGELOG", "docs/not_run"],
}
"""The pages, in the order of the site's navigation. A page that is not here fails the build."""

project = "resnext_backbones"
author = "the authors of resnext_backbones"
version = release = resnext_backbones.__version__
root_doc = "README"
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", "docs/*.rst"]
# Nothing is looked for there; the first is also where virtual environments are.
exclude_patterns = [".*", "build", "data", "dist", "tests", "work_dirs", "resnext_backbones"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "command_help"]
myst_heading_anchors = 4

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_mock_imports = ["detectron2", "fvcore"]
python_use_unqualified_type_names = True
napoleon_use_ivar = True
napoleon_use_rtype = False
# Other projects' objects: a look at their inventories would need a network.
nitpick_ignore_regex = [
    ("py:.*", r"(?!resnext_backbones).*"),
    ("py:class", r".*\.Named"),
]

html_theme = "furo"
html_title = f"resnext_backbones {version}"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_favicon = "icon.svg"
html_extra_path = ["index.html"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_domain_indices = False
default_role = "literal"  # docstrings mark code as Markdown does
smartquotes_action = "D"  # dashes; quotes stay, so a traceback is found as it is written
pygments_style = "friendly"
pygments_dark_style = "monokai"


def add_navigation(app: object, name: str, source: list[str]) -> None:  # noqa: ARG001
    """Ends the start page in the list of other pages, for which Markdown has no word."""
    if name == root_doc:
        for caption, pages in NAVIGATION.items():
            listed = "\n".join(f"/{page}" for page in pages)
            source[0] += f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{listed}\n```\n"


def own_signature(app: object, what: str, name: str, cls: type, *_: object) -> tuple | None:  # noqa: ARG001
    """Returns the arguments of a class itself, which a base class, as the Hub's, hides."""
    if what != "class" or "__init__" not in vars(cls):
        return None
    arguments = stringify_signature(
        signature(cls.__init__, bound_method=True), unqualified_typehints=True
    )
    return arguments.partition(" -> ")[0], None


def add_runs(app: Any, exception: Exception | None) -> None:
    """Puts the pages of runs where the documents link to, with the script that they share."""
    if exception is None:
        folder = Path(app.outdir) / "docs" / "runs"
        shutil.copytree(HERE.parent / "runs", folder, dirs_exist_ok=True)
        (folder / PLOTLY).write_text(get_plotlyjs(), encoding="utf-8")


def setup(app: Any) -> None:
    """Is called by Sphinx."""
    app.connect("build-finished", add_runs)
    app.connect("source-read", add_navigation)
    app.connect("autodoc-process-signature", own_signature)
