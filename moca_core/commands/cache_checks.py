"""What `moca doctor` says of the features that training keeps."""

from __future__ import annotations

from collections.abc import Iterator

from moca_core.commands.findings import Finding, Status
from moca_core.errors import ConfigError
from moca_core.training.feature_folders import feature_folders, limit_bytes


def kept_features() -> Iterator[Finding]:
    """How much they take, of how much they may."""
    try:
        limit = limit_bytes()
    except ConfigError as error:
        yield Finding(Status.FAIL, "kept features", error.message, error.hint)
        return
    folders = feature_folders()
    size = sum(folder.size for folder in folders)
    found = f"{size / 1e9:.2f} of {limit / 1e9:g} GB, in {len(folders)} folders (`moca cache`)"
    yield Finding(Status.INFO, "kept features", found)
