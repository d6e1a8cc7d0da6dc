"""Writes networks for other runtimes, each file checked in its runtime before it gets its name."""
