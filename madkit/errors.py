"""The errors a user can mend. Every message names the argument, its value and the way out.

The command line prints one of these as a single line and exits with status 2; any other exception is a
defect of madkit and keeps its traceback.
"""


class MadkitError(Exception):
    """Base of all errors that madkit raises on purpose."""


class ConfigError(MadkitError, ValueError):
    """An argument or a recipe asks for something that does not exist or does not fit together."""


class DataError(MadkitError, ValueError):
    """The data cannot give a right number: NaN, an empty split, one class, malformed records."""


class StoreError(MadkitError, RuntimeError):
    """A folder on disk is missing, half-written, damaged, or was made by something else."""


class NotFittedError(MadkitError, RuntimeError):
    """A method was called in the wrong order, such as scoring before fitting."""
