"""One page says of a run what it was, how it went and what came of it; it needs no network."""

FILE_NAME = "report.html"
"""The page has this name in a work directory."""
