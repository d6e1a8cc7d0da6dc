"""What every run shares: configs, processes, seeds, checkpoints, reports before the first step."""
