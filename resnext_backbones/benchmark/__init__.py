"""Time and memory of this package's network beside those of its peers, in one run."""
