"""What every run on MMEngine shares: command lines, devices, configs, checkpoints, curves."""
