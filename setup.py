"""All that is said about the package stands in pyproject.toml; this is for those who look here."""

from setuptools import setup

setup()
