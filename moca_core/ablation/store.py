"""What a sweep keeps in its folder: the sweep, and a folder for each row.

A row that is done has its `report.json`. Until then its records, a line of JSON for each case that
was scored, are all that is needed to go on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from moca_core.ablation.sweep import Row, Sweep, load_sweep
from moca_core.errors import ConfigError, DatasetError, StorageError
from moca_core.evaluation.layouts import Case, DataSet
from moca_core.evaluation.records import CaseRecord, from_line, is_of, to_line
from moca_core.evaluation.runner import make_report
from moca_core.export.results import prepare_folder
from moca_core.fileio import parse_json, write_bytes, write_json
from moca_core.models.filelock import FileLock
from moca_core.shares import Ledger, Share
from moca_core.training.checkpoint import LAST

SWEEP, ROWS = "sweep.toml", "rows"
RUN = "train"
_FACTS, _REPORT = "row.json", "report.json"
_NAME, _RECORDS = "records", "records.jsonl"
_LOCK = ".lock"


class RowStore:
    """The folder of one row.

    Parameters
    ----------
    folder : of the sweep.
    """

    def __init__(self, folder: Path, row: Row) -> None:
        self.row, self.folder = row, folder / ROWS / row.folder
        self._report: dict[str, Any] | None = None

    @property
    def run(self) -> Path:
        """The folder of its training."""
        return self.folder / RUN

    def report(self) -> dict[str, Any] | None:
        """Its result in the shape of `evaluate --json`; None until it is done."""
        if self._report is None:
            with suppress(FileNotFoundError, ValueError):
                report = parse_json((self.folder / _REPORT).read_text(encoding="utf-8"))
                self._report = report if isinstance(report, dict) and "m_j" in report else None
        return self._report

    def keep_facts(self, facts: Mapping[str, Any]) -> None:
        """Write what the row is made with; raises `StorageError`."""
        write_json(self.folder / _FACTS, facts)

    def records(self) -> dict[str, CaseRecord]:
        """The cases that were scored, by id, whichever process scored them.

        Raises
        ------
        StorageError : they can't be read.
        """
        found = {}
        parts = sorted(self.folder.glob(f"{_NAME}-*.jsonl"))
        for path in (self.folder / _RECORDS, *parts):  # what was scored last counts
            with suppress(FileNotFoundError):
                for line in _lines(path):
                    # A kill may have cut the last line short.
                    with suppress(ValueError):
                        record = from_line(line)
                        found[record.id] = record
        return found

    def known(self, cases: Sequence[Case]) -> dict[str, CaseRecord]:
        """Those of `records` that are of these very cases; raises `StorageError`."""
        found = self.records()
        return {
            case.id: found[case.id]
            for case in cases
            if case.id in found and is_of(found[case.id], case)
        }

    def gather(self) -> dict[str, CaseRecord]:
        """The records, all in one file from now on; raises `StorageError`.

        No other process may write records of this row meanwhile.
        """
        found = self.records()
        parts = list(self.folder.glob(f"{_NAME}-*.jsonl"))
        if parts:
            lines = "".join(to_line(record) for record in found.values())
            write_bytes(self.folder / _RECORDS, lines.encode())
            for path in parts:
                path.unlink(missing_ok=True)
        return found

    @contextmanager
    def add_records(self, shard: int) -> Iterator[Callable[[CaseRecord], None]]:
        """A function that keeps a record at once, in the file of one process.

        Raises
        ------
        ConfigError : another process has that file.
        StorageError : the disk is full. What was kept before stays.
        """
        with Ledger(self.folder, _NAME, Share(shard, shard + 1)) as ledger:
            yield lambda record: ledger.add(to_line(record))

    def finish(self, data: DataSet) -> dict[str, Any]:
        """Make the report of a row whose cases were all tried.

        Raises
        ------
        DatasetError : no case could be read.
        StorageError : it can't be written.
        """
        self.gather()
        found = self.known(data.cases)
        done = list(found.values())
        failed = [case.id for case in data.cases if case.id not in found]
        if not done:
            raise DatasetError(
                f"none of {len(data.cases)} cases could be read",
                "See the notes above for each of them.",
            )
        facts: dict[str, Any] = {}
        with suppress(FileNotFoundError, ValueError):
            facts = parse_json((self.folder / _FACTS).read_text(encoding="utf-8"))
        seconds = sum(record.seconds for record in done)
        self._report = make_report(done, failed, seconds, facts, data.incomplete)
        write_json(self.folder / _REPORT, self._report)
        return self._report


def occupied(folder: Path) -> FileLock:
    """A lock that keeps other sweeps out of the folder; raises `StorageError`."""
    prepare_folder(folder)
    lock = FileLock(folder / _LOCK)
    if not lock.acquire():
        with lock:
            raise StorageError(
                f"{folder}: a sweep is going on there", "Wait for it, or choose another folder."
            )
    return lock


def keep_sweep(sweep: Sweep, folder: Path) -> None:
    """Write the sweep into its folder.

    Before anything is trained or scored there is nothing to lose: settings may be put right.

    Raises
    ------
    ConfigError : another sweep is there.
    """
    path, rows = folder / SWEEP, folder / ROWS
    begun = any(any(rows.glob(name)) for name in (f"*/{_NAME}*.jsonl", f"*/{RUN}/{LAST}"))
    if begun and path.exists():
        old, new = _settings(load_sweep(path)), _settings(sweep)
        for name in (*old, *new):
            before, now = (_shown(settings.get(name)) for settings in (old, new))
            if before != now:
                raise ConfigError(
                    f"{folder}: another sweep is there ({name}: {before}, not {now})",
                    "Choose another folder, or go on with that one: "
                    f"moca ablate {path} --out {folder}",
                )
    elif path.exists():
        shutil.rmtree(rows, ignore_errors=True)
    # Title and plot may change at any time.
    sweep.save(path)


def _shown(value: object) -> str:
    return "its default" if value is None else json.dumps(value, ensure_ascii=False)


def _settings(sweep: Sweep) -> dict[str, object]:
    """All that its rows depend on."""
    own = {"seeds": sweep.seeds, "adapter": sweep.adapter, "axes": list(dict(sweep.axes))}
    return own | dict(sweep.axes) | dict(sweep.base)


def _lines(path: Path) -> list[str]:
    """Raises `FileNotFoundError`, and `StorageError` where it can't be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(
            f"{path}: can't be read ({error.strerror or error})", "Check its permissions."
        ) from error
