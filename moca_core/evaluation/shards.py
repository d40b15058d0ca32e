"""Which cases of an evaluation are done: in memory, or in a folder that processes share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from moca_core.errors import ConfigError
from moca_core.evaluation.layouts import Case, DataSet
from moca_core.evaluation.records import CaseRecord, from_line, is_of, to_line
from moca_core.fileio import parse_json, write_json
from moca_core.shares import Ledger, Share, Watch
from moca_core.types import StageEvent

CONFIG = "config.json"
CASES = "cases"
_SHOWN = 3
"""Settings that differ which an error names."""


class CaseBook:
    """The records of an evaluation in memory: nothing was done before, nobody shares the work.

    Attributes
    ----------
    records : by case.
    failed : case -> why it couldn't be read when it was last tried.
    """

    def __init__(self, share: Share | None = None) -> None:
        self.share = share or Share()
        self.records: dict[str, CaseRecord] = {}
        self.failed: dict[str, str] = {}

    def own(self, data: DataSet) -> list[Case]:
        """The cases that this process does."""
        return [case for case, rank in self._owners(data) if rank == self.share.rank]

    def _owners(self, data: DataSet) -> Iterator[tuple[Case, int]]:
        """Whose each case is: those of a clip have one owner, which reads its sound once."""
        clips: dict[str, int] = {}
        for case in data.cases:
            number = clips.setdefault(case.clip or case.id, len(clips))
            yield case, self.share.owner(number)

    def done(self, case: Case) -> CaseRecord | None:
        """The record of this very case."""
        record = self.records.get(case.id)
        return record if record is not None and is_of(record, case) else None

    def add(self, record: CaseRecord) -> None:
        """Keep a record; raises `StorageError`."""
        self.records[record.id] = record
        self.failed.pop(record.id, None)

    def fail(self, case: Case, message: str) -> None:
        """Note that a case can't be read; raises `StorageError`."""
        self.failed[case.id] = message

    def refresh(self) -> None:
        """Take up what other processes have done meanwhile; raises `StorageError`."""

    def others(self, data: DataSet) -> Iterator[StageEvent]:
        """Wait until the other processes have tried each of their cases; raises `ShareError`."""
        yield from ()


class CaseFolder(CaseBook):
    """Records in a folder: what is there isn't done again, and several processes fill it.

    `config.json` says what the numbers depend on, and `cases-<rank>.jsonl` has a line for each
    case, written as soon as it is done.

    Parameters
    ----------
    folder : it must be there.
    settings : JSON data; what the numbers depend on.
    about : JSON data; what else is said of the run.

    Raises
    ------
    ConfigError : the folder holds cases of other settings, or another process is at work in it.
    StorageError : it can't be written.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        about: Mapping[str, Any],
        share: Share | None = None,
    ) -> None:
        super().__init__(share)
        self._ledger = Ledger(folder, CASES, self.share)
        self._ledger.__enter__()
        try:
            self._watch = Watch(self._ledger, "cases")
            self.refresh()
            self._claim(folder / CONFIG, settings, about)
        except BaseException:
            self._ledger.close()
            raise

    def __enter__(self) -> CaseFolder:
        return self

    def __exit__(self, *raised: object) -> None:
        self._ledger.close()

    def add(self, record: CaseRecord) -> None:
        super().add(record)
        self._ledger.add(to_line(record))
        self._look()

    def fail(self, case: Case, message: str) -> None:
        super().fail(case, message)
        self._ledger.add(json.dumps({"id": case.id, "failed": message}) + "\n")
        self._look()

    def others(self, data: DataSet) -> Iterator[StageEvent]:
        def owed() -> dict[int, int]:
            self.refresh()
            left: dict[int, int] = {}
            for case, rank in self._owners(data):
                if case.id not in self.failed and self.done(case) is None:
                    left[rank] = left.get(rank, 0) + 1
            return left

        yield from self._watch.until_done(owed, len(data.cases))

    def _look(self) -> None:
        if self.share.first and self.share.count > 1:
            self._watch.look()

    def refresh(self) -> None:
        # A line that is damaged doesn't count: its case is done again.
        for line in self._ledger.news():
            try:
                record = from_line(line)
            except ValueError:
                self._read_failure(line)
                continue
            super().add(record)

    def _read_failure(self, line: str) -> None:
        try:
            values = parse_json(line)
            name, message = str(values["id"]), str(values["failed"])
        except (ValueError, TypeError, LookupError):
            return
        if name not in self.records:
            self.failed[name] = message

    def _claim(self, path: Path, settings: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """See that the records are of these settings, or write down that those to come are."""
        # As they are read from a file: lists for tuples.
        settings = json.loads(json.dumps(settings))
        if self.records:
            differing = _differing(_settings_in(path), settings)
            if differing:
                raise ConfigError(
                    f"{path.parent}: holds an evaluation with other settings ({differing})",
                    "Choose another folder, or remove this one to begin anew.",
                )
            return
        text = json.dumps(settings, sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:12]
        write_json(path, {"fingerprint": name, "settings": settings, "about": dict(about)})


def _settings_in(path: Path) -> Mapping[str, Any]:
    try:
        settings: Mapping[str, Any] = dict(parse_json(path.read_bytes())["settings"])
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise ConfigError(
            f"{path}: can't be read, so nobody knows what the cases beside it were made with",
            "Choose another folder, or remove this one to begin anew.",
        ) from error
    return settings


def _differing(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """The settings that differ, in words; "" if none does."""
    old, new = dict(_flat(there)), dict(_flat(here))
    names = [name for name in dict.fromkeys((*old, *new)) if old.get(name) != new.get(name)]
    named = [f"{name}: {_short(old, name)} there, {_short(new, name)} here" for name in names]
    if len(named) > _SHOWN:
        named[_SHOWN:] = [f"and {len(named) - _SHOWN} more"]
    return "; ".join(named)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings within settings as `part.name`."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _short(settings: Mapping[str, Any], name: str) -> str:
    return json.dumps(settings[name], ensure_ascii=False) if name in settings else "not set"
