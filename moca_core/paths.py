"""Where files live: caches, settings and logs by platformdirs, resources beside the code."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

APP_NAME = "moca-studio"


def cache_dir() -> Path:
    """Folder of weights and stored results: `MOCA_CACHE_DIR`, else the platform's cache folder."""
    override = os.environ.get("MOCA_CACHE_DIR")
    return Path(override) if override else Path(platformdirs.user_cache_dir(APP_NAME, False))


def weights_dir() -> Path:
    """Folder of the fetched weights files."""
    return cache_dir() / "weights"


def results_dir() -> Path:
    """Folder of the stored results, one subfolder a clip."""
    return cache_dir() / "results"


def config_dir() -> Path:
    """Folder of the user's settings."""
    return Path(platformdirs.user_config_dir(APP_NAME, False))


def adapters_dir() -> Path:
    """Folder of the adapters that the user put to use, which outlive the runs that made them."""
    return Path(platformdirs.user_data_dir(APP_NAME, False)) / "adapters"


def projects_dir() -> Path:
    """Folder of the projects of clips beside which nothing can or should be written."""
    return Path(platformdirs.user_data_dir(APP_NAME, False)) / "projects"


def log_dir() -> Path:
    """Folder of the log files."""
    return Path(platformdirs.user_log_dir(APP_NAME, False))


def resource(relative: str) -> Path:
    """Path of a file in `resources/`, from a wheel or from a source tree.

    Raises
    ------
    FileNotFoundError : the installation lacks that file.
    """
    for root in _resource_folders():
        if (root / relative).exists():
            return root / relative
    raise FileNotFoundError(f"resource {relative!r} is missing from this installation")


def is_resource(path: Path) -> bool:
    """Whether a file came with the program, whose folders nothing is written into."""
    place = Path(os.path.realpath(path))  # which links that go round don't stop
    return any(place.is_relative_to(root) for root in _resource_folders())


def _resource_folders() -> tuple[Path, Path]:
    package = Path(__file__).resolve().parent
    return package / "_resources", package.parent / "resources"
