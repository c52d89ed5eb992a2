"""The base of all errors that a user can put right, and the kind that has no other home."""

import copyreg


class AdaptISError(Exception):
    """Says what is wrong, where (the file, the value), and what to do; scripts end with its text.
    Raised as one of its kinds."""

    def __reduce__(self):
        """Kinds whose parameters aren't their text come from one process to another too."""
        return copyreg.__newobj__, (type(self), *self.args), vars(self)


class ResultsError(AdaptISError, ValueError):
    """A folder of predictions is of another run, incomplete or damaged; says what to do."""


def last_line(error: Exception) -> str:
    """What MXNet's errors say, behind their own stack trace."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
