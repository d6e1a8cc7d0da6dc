"""Annotations and pixels, read in one way for every task."""
