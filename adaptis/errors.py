"""The base of all errors that a user can put right."""


class AdaptISError(Exception):
    """Says what is wrong, where (the file, the value), and what to do; scripts end with its text.

    Raised as one of its kinds: DataError, CheckpointError, TrainingError, ResultsError, ImageError,
    DeviceError.
    """
