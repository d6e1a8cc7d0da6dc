"""Numbers are said in units that people read."""


def size(count: float) -> str:
    """Returns bytes in GiB, or in MiB where these are few."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def duration(seconds: float) -> str:
    """Returns a time as a clock would not: `3 h 20 min`."""
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 1:
        return f"{int(hours):,} h {int(minutes % 60)} min"
    return f"{int(minutes)} min {round(seconds % 60)} s" if minutes >= 1 else f"{seconds:.3g} s"
