"""The network's arithmetic, in the ways that take less time or memory."""
