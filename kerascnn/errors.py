"""The one kind of error that the caller can correct."""


class InputError(ValueError):
    """Bad input; the message is one line that names the culprit and the remedy.

    The command line prints it and exits with 2; anything else that escapes is a defect.
    """


def reason(error: Exception) -> str:
    """The first line of what a library says of an error, or the error's kind if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
