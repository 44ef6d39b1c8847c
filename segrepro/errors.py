"""The one kind of error that a user can cause: it says what was wrong, where, and what to do."""


class InputError(ValueError):
    """Something outside the program is wrong: a parameter, a file, a folder, a device.

    The message names the file, class or parameter and ends with the remedy.
    """


class BusyError(InputError):
    """Another process is at work on the same run."""
