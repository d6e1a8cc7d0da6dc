"""Errors say what is wrong with weights."""


class WeightsError(ValueError):
    """Says that weights cannot be read, or do not fit the network."""


class DownloadError(WeightsError):
    """Says that weights could not be downloaded, and last where to put the file."""
