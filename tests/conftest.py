"""Shared fixtures: isolated folders, the development data, and the compact bundle's weights."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def dev_data() -> Path:
    """Folder of the development data; skips with the reason where it is absent."""
    folder = Path(os.environ.get("MOCA_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "clips" / "clips.csv").is_file():
        pytest.skip(f"development data not at {folder} (set MOCA_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def weights_dir() -> Path:
    """Folder with the compact bundle's weights, fetched once through the weights manager."""
    from moca_core.models.weights import ensure_bundle
    from moca_core.paths import weights_dir

    ensure_bundle("compact")
    return weights_dir()
