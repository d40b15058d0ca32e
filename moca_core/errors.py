"""The errors that users see: what happened first, what to do about it second."""

from __future__ import annotations


class MocaError(Exception):
    """An expected failure with a remedy.

    Parameters
    ----------
    message : what happened, the offending value first.
    hint : what the user can do about it; empty if nothing can be done.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class MediaError(MocaError):
    """A clip can't be opened or decoded."""


class NoVideoError(MediaError):
    """The file has no picture."""


class NoAudioError(MediaError):
    """The file has no audio track."""


class WeightsError(MocaError):
    """A weights file is missing, damaged, or can't be fetched."""


class ConfigError(MocaError):
    """A setting has a value that can't work."""


class DatasetError(MocaError):
    """A dataset folder isn't what its layout says."""


class StorageError(MocaError):
    """Something can't be read from or written to disk."""


class ProjectError(StorageError):
    """A file isn't a project, or can't be read or written as one."""


class ProjectVersionError(ProjectError):
    """The project was saved by a newer program."""


class ProjectConflictError(ProjectError):
    """Another program saved the project since it was opened or saved here."""


class DeviceError(MocaError):
    """The requested compute device can't be used."""


class PrecisionError(DeviceError):
    """Numbers don't fit into the precision in which they are computed."""
