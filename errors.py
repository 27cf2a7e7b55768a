"""The one kind of error that is the user's to mend."""


class InputError(ValueError):
    """What the user gave cannot be used; the message names the file or flag and the remedy. Entry points print it and exit with 2."""
