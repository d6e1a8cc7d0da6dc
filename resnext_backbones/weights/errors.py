"""What is raised where weights are wrong."""


class WeightsError(ValueError):
    """Weights that cannot be read, or that do not fit the network."""
