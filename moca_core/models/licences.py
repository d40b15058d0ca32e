"""The terms of a bundle's weights: shown once, before they are first used."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

from moca_core import fileio, paths
from moca_core.models.registry import bundle_row

_SHOWN = "terms"
_ON = "on"


def pending(bundle: str) -> str:
    """The terms that the user hasn't seen yet; "" where there are none, or they were shown.

    Raises `KeyError` for another name. Terms that changed are shown again.
    """
    terms = bundle_row(bundle).terms
    return "" if _entry(bundle).get(_SHOWN) == terms else terms


def shown_on(bundle: str) -> str:
    """The day on which the terms were shown, such as `2026-01-31`; "" if they weren't."""
    return "" if pending(bundle) else _entry(bundle).get(_ON, "")


def remember(bundle: str) -> None:
    """Note that the terms were shown; raises `StorageError` if that can't be written."""
    entry = {_SHOWN: bundle_row(bundle).terms, _ON: datetime.date.today().isoformat()}
    fileio.write_json(_path(), {**_entries(), bundle: entry})


def _path() -> Path:
    return paths.config_dir() / "licences.json"


def _entries() -> dict[str, object]:
    """What was remembered; nothing if the file is damaged, which shows the terms again."""
    try:
        found = json.loads(_path().read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _entry(bundle: str) -> dict[str, str]:
    entry = _entries().get(bundle)
    if not isinstance(entry, dict):
        return {}
    return {key: value for key, value in entry.items() if isinstance(value, str)}
