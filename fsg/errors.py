"""What can go wrong, by name. Every message says what, what was found, what is allowed and what to do.

The command line prints the message alone and exits with ``exit_code``: 2 where the user can mend it, 1 where a run failed.
"""


class FsgError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code = 1


class ConfigError(FsgError):
    """A trial configuration, or the YAML it came from, says something impossible."""

    exit_code = 2


class UnknownName(ConfigError):
    """A configuration has a key, or a kind of something, that this version does not know."""


class StudyError(FsgError):
    """A study is missing, is another one than asked for, or its design cannot answer its question."""

    exit_code = 2


class NewerFormat(FsgError):
    """A file was written by a later version of fsg, so this one can neither read nor judge it; it is left as it is."""

    exit_code = 2


class DiskFull(StudyError):
    """The disk, or a quota, has no room for an event; nothing of it was kept."""


class StorageFailed(StudyError):
    """A study's folder was removed, moved or takes no writes any more while the study runs."""

    exit_code = 1


class DataError(FsgError):
    """A data set is missing or damaged; the message says how to get it."""

    exit_code = 2


class BackendUnavailable(FsgError):
    """A backend, device or optional package was asked for that this machine does not have."""

    exit_code = 2


class TrialDiverged(FsgError):
    """A loss or weight stopped being finite; carries the step and the layer."""


class TrialPreempted(FsgError):
    """A trial was asked to leave its machine; its state up to the last step is saved."""


class CheckpointCorrupt(FsgError):
    """A checkpoint does not match its digest or does not fit the trial."""


class ExportRefused(FsgError):
    """A network cannot be exported, or what was exported does not give its results; nothing is left of it."""
