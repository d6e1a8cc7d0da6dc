"""Measurements beside the peers; not in the wheel."""
