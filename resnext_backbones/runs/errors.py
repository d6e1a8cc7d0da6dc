"""Bad input."""


class InputError(Exception):
    """Something that the user gave is missing or wrong; the message says what and what to do."""
