"""Pictures of what a run gave."""
