"""The one exception for what a user can cause."""


class InputError(ValueError):
    """Bad input: a file, a row, a flag or an argument.

    Its message is one line that names the place, what is wrong and what would be right. Commands
    print it on standard error and exit with status 1.
    """
