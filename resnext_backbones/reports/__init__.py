"""Pictures show what a run gave."""
