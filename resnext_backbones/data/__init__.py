"""Annotations and pixels are read in one way for every task."""
