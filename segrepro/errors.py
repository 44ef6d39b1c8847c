"""The one kind of error that a user can cause: it says what was wrong, where, and what to do."""

import contextlib
import sys
from collections.abc import Iterator


class InputError(ValueError):
    """Something outside the program is wrong: a parameter, a file, a folder, a device.

    The message names the file, class or parameter and ends with the remedy.
    """


class BusyError(InputError):
    """Another process is at work on the same run."""


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """For a command: an InputError ends it with its message instead of a traceback."""
    try:
        yield
    except InputError as error:
        sys.exit(f"error: {error}")
