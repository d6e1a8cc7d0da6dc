"""Every run shares this: configs, processes, seeds, checkpoints, reports before the first step."""
