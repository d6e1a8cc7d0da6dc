"""What a training step will take of memory, before there is any."""
