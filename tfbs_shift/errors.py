"""The one exception for what a user can cause."""


class InputError(ValueError):
    """Bad input: a file, a row, a flag or an argument.

    Its message is one line that names the place, what is wrong and what would be right. Commands
    print it on standard error and exit with status 1.
    """


class Interrupted(KeyboardInterrupt):
    """A signal has ended long work in an orderly way: the same call goes on from there.

    Attributes:
        status: the exit status of a command, 128 and the number of the signal.
    """

    def __init__(self, signal: int):
        super().__init__("interrupted; the same command goes on from here")
        self.status = 128 + signal
