"""What is raised where weights are wrong."""


class WeightsError(ValueError):
    """Weights that cannot be read, or that do not fit the network."""


class DownloadError(WeightsError):
    """Weights that could not be downloaded; the message ends with where to put the file."""
