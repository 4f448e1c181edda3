"""The one kind of error that is the caller's to mend."""


class InputError(ValueError):
    """Bad input; the message is one line that names the culprit and the remedy.

    The command line prints it and exits with 2; anything else that escapes is a defect.
    """
