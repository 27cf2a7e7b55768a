"""The one kind of error that the user can fix."""


class InputError(ValueError):
    """What the user gave cannot be used.

    The message is one line that names the file or setting and the remedy. Entry points print it
    and exit with 2.
    """
