"""What runs share: command lines, devices, seeds, checkpoints; and configs, hooks on MMEngine."""
