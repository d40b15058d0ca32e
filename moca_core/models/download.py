"""Fetch one address into a file, going on from what is already there.

The weights manager runs this file as a child process, so that a stop, a stall and a name server
that doesn't answer all end in the same way: the process is ended. Only the standard library is
used, which keeps the start short.
"""

from __future__ import annotations

import os
import re
import sys
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPResponse
from pathlib import Path

ATTEMPTS = 3
EXIT_SOURCE = 1
EXIT_STORAGE = 3
_CHUNK = 2**18
_OK = 200
_PARTIAL = 206
_RANGE_REFUSED = 416


class DownloadError(Exception):
    """The address doesn't give the file; the text says why."""


class BrokenOffError(DownloadError):
    """The connection ended too early: worth another attempt if anything came."""


class _OtherPartError(DownloadError):
    """Another part of the file came than was asked for."""


class DiskError(Exception):
    """The file can't be written; the text says why."""


def download(url: str, part: Path, size: int, timeout_s: float) -> None:
    """Append to `part` until it has `size` bytes.

    A transfer that breaks off is continued, up to `ATTEMPTS` times as long as each brings bytes.
    The content isn't checked here: its SHA-256 is, by the caller.

    Parameters
    ----------
    url : http(s) address; redirects and the proxies of the environment are followed.
    part : file that holds what has come so far; made if absent.
    size : bytes of the whole file; 0 where only the address knows it.
    timeout_s : seconds without an answer or a byte after which the attempt counts as broken off.

    Raises
    ------
    DownloadError : the address refuses, isn't reached, or gives a file of another size.
    DiskError : `part` can't be written.
    """
    for attempt in range(1, ATTEMPTS + 1):
        before = _length(part)
        if size and before == size:
            return
        try:
            _transfer(url, part, 0 if size and before > size else before, size, timeout_s)
        except BrokenOffError:
            if attempt == ATTEMPTS or _length(part) <= before:
                raise
        else:
            return


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _transfer(url: str, part: Path, start: int, size: int, timeout_s: float) -> None:
    """One request and its answer."""
    request = urllib.request.Request(url, headers={"User-Agent": "moca-studio"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            offset, total = _span(response, start, size)
            _store(response, part, offset, total)
    except _OtherPartError:
        if not start:
            raise
        _transfer(url, part, 0, size, timeout_s)
    except urllib.error.HTTPError as error:
        if error.code == _RANGE_REFUSED and start:
            _transfer(url, part, 0, size, timeout_s)
            return
        raise DownloadError(f"it answers {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise DownloadError(f"not reached ({_words(error.reason)})") from error
    except (OSError, HTTPException) as error:
        came = _length(part)
        of = f" of {size}" if size else ""
        raise BrokenOffError(f"broke off at {came}{of} bytes ({_words(error)})") from error


def _words(error: object) -> str:
    """Short words for an error of the network."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip()


def _span(response: HTTPResponse, start: int, size: int) -> tuple[int, int]:
    """Where in the file the answer begins, and the bytes of the whole (0: not said).

    Raises if the answer can't be the file.
    """
    offset, total = 0, None
    if response.status == _PARTIAL:
        span = re.match(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if span is None or int(span[1]) != start:
            raise _OtherPartError("it answers with another part of the file than asked for")
        offset, total = start, None if span[2] == "*" else int(span[2])
    elif response.status != _OK:
        raise DownloadError(f"it answers {response.status} {response.reason}")
    length = response.headers.get("Content-Length", "")
    if length.isdigit():
        total = offset + int(length)
    if size and total is not None and total != size:
        raise DownloadError(f"it offers a file of {total} bytes instead of {size}")
    return offset, size or total or 0


def _store(response: HTTPResponse, part: Path, offset: int, size: int) -> None:
    """Write the answer's body to `part` from `offset`."""
    parent = os.getppid()
    done = offset
    stream = _open(part, offset)
    with stream:
        while chunk := response.read1(_CHUNK):
            if os.getppid() != parent:
                # Whoever asked for the file is gone; another fetch may own `part` by now.
                raise DownloadError("abandoned")
            done += len(chunk)
            if size and done > size:
                raise DownloadError(f"it sends more than {size} bytes")
            try:
                stream.write(chunk)
            except OSError as error:
                raise DiskError(error.strerror or str(error)) from error
    if done < size:
        raise BrokenOffError(f"broke off at {done} of {size} bytes")


def _open(part: Path, offset: int):  # type: ignore[no-untyped-def]  # the raw, unbuffered file
    """Open `part` for writing at `offset`, without a buffer: what came is on disk."""
    try:
        stream = part.open("r+b" if offset else "wb", buffering=0)
        if offset:
            stream.seek(offset)
            stream.truncate()
    except OSError as error:
        raise DiskError(error.strerror or str(error)) from error
    return stream


def main(arguments: list[str]) -> int:
    """`URL PART SIZE TIMEOUT`; the reason of a failure goes to stderr."""
    url, part, size, timeout_s = arguments
    try:
        download(url, Path(part), int(size), float(timeout_s))
    except DownloadError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_SOURCE
    except DiskError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_STORAGE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
