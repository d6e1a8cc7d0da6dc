"""A plan says what a training step will take of memory, before there is any."""
