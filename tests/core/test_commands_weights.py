"""`moca weights list|get|verify|import` on two small files."""

from __future__ import annotations

import hashlib
import io
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from moca_core.cli import DONE, FAILED, STOPPED, USAGE, main
from moca_core.commands import terms
from moca_core.errors import StorageError
from moca_core.models import importing, licences, sources, specs, weights
from moca_core.models.specs import ROWS, UrlSource, WeightsRow
from moca_core.models.weights import FetchEvent

CONTENTS = {"first.onnx": b"first" * 300_000, "second.pt": b"second" * 200_000}


@pytest.fixture
def served(tmp_path) -> Iterator[str]:
    """Address of a server that has both files."""
    folder = tmp_path / "served"
    folder.mkdir()
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def rows(monkeypatch, tmp_path, served) -> tuple[WeightsRow, ...]:
    """Two rows in place of the real ones, and an empty cache."""
    found = tuple(
        WeightsRow(
            name=name,
            role=f"part {place}",
            bundle="compact",
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            licence="MIT",
            upstream="here",
            contract="none",
            sources=(UrlSource(f"{served}/{name}"),),
        )
        for place, (name, content) in enumerate(CONTENTS.items(), 1)
    )
    monkeypatch.setattr(specs, "ROWS", found)
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(sources, "POLL_S", 0.01)
    return found


@pytest.fixture
def cache(tmp_path) -> Path:
    folder = tmp_path / "cache" / "weights"
    folder.mkdir(parents=True)
    return folder


def test_list_shows_name_role_size_licence_and_state(cache, capsys):
    (cache / "first.onnx").write_bytes(CONTENTS["first.onnx"])
    (cache / "second.pt.part").write_bytes(b"x" * 400_000)
    assert main(["weights", "list", "compact"]) == DONE
    assert capsys.readouterr().out.splitlines() == [
        "compact: 1 of the 2 files that it needs are ready (2.7 MB in all)",
        "  first.onnx  part 1  1.5 MB  MIT  ready",
        "  second.pt   part 2  1.2 MB  MIT  partly fetched (0.4 MB)",
        "`moca weights get compact` fetches what it needs (1.2 MB more).",
        "",
        f"They are in {cache}",
    ]


def test_list_of_a_complete_cache_asks_for_nothing(cache, capsys):
    for name, content in CONTENTS.items():
        (cache / name).write_bytes(content)
    assert main(["weights", "list", "compact"]) == DONE
    out = capsys.readouterr().out
    assert "2 of the 2 files that it needs are ready" in out
    assert "moca weights get" not in out


def test_get_fetches_and_a_second_get_has_nothing_to_do(cache, capsys):
    assert main(["weights", "get"]) == DONE
    out, err = capsys.readouterr()
    assert out == f"compact: 2 files ready (2.7 MB) in {cache}\n"
    assert "first.onnx (1 of 2): from 127.0.0.1" in err
    assert {name: (cache / name).read_bytes() for name in CONTENTS} == CONTENTS
    assert main(["weights", "get", "compact"]) == DONE
    assert capsys.readouterr() == (out, "")


def test_get_replaces_a_damaged_file(cache, capsys):
    (cache / "first.onnx").write_bytes(b"f" * len(CONTENTS["first.onnx"]))
    assert main(["weights", "get", "--quiet"]) == DONE
    out, err = capsys.readouterr()
    assert out == ""
    assert "first.onnx (1 of 2): damaged; fetching it again" in err
    assert (cache / "first.onnx").read_bytes() == CONTENTS["first.onnx"]


def test_get_without_an_answer_fails_and_keeps_the_rest(rows, cache, served, tmp_path, capsys):
    (tmp_path / "served" / "second.pt").unlink()
    assert main(["weights", "get"]) == FAILED
    err = capsys.readouterr().err
    assert "moca: second.pt can't be fetched: 127.0.0.1: it answers 404" in err
    assert "moca weights import FILE" in err
    assert (cache / "first.onnx").is_file()


def test_ctrl_c_keeps_the_part_and_says_how_to_go_on(cache, monkeypatch, capsys):
    closed = []

    def slow(rows):
        part = weights.part_of(rows[0])
        try:
            for done in range(0, 1_500_000, 100_000):
                part.write_bytes(CONTENTS["first.onnx"][:done])
                if done == 500_000:
                    signal.raise_signal(signal.SIGINT)
                yield FetchEvent(rows[0].name, done, rows[0].size, "here")
        finally:
            closed.append(done)

    with monkeypatch.context() as patch:
        patch.setattr(weights, "fetch", slow)
        assert main(["weights", "get"]) == STOPPED
    assert closed == [500_000]
    err = capsys.readouterr().err
    assert "Stopped. 0.5 MB of 1.5 MB of first.onnx are kept" in err
    assert "`moca weights get compact` again to continue" in err
    assert (cache / "first.onnx.part").stat().st_size == 500_000
    assert main(["weights", "get"]) == DONE
    assert (cache / "first.onnx").read_bytes() == CONTENTS["first.onnx"]


def test_ctrl_c_during_a_package_does_not_promise_a_part(cache, monkeypatch, capsys):
    def package(rows):
        signal.raise_signal(signal.SIGINT)
        yield FetchEvent(rows[0].name, 10, 100, "package x==1")

    monkeypatch.setattr(weights, "fetch", package)
    assert main(["weights", "get"]) == STOPPED
    assert "Stopped. Finished files are kept. Run" in capsys.readouterr().err


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "file"))
    assert main(["weights", "get"]) == FAILED
    assert "Set MOCA_CACHE_DIR" in capsys.readouterr().err


def test_get_of_one_file(cache, capsys):
    assert main(["weights", "get", "second.pt"]) == DONE
    out, err = capsys.readouterr()
    assert out == f"second.pt: 1 file ready (1.2 MB) in {cache}\n"
    assert "second.pt: from 127.0.0.1" in err
    assert not (cache / "first.onnx").exists()
    assert main(["weights", "verify", "second.pt"]) == DONE


def test_files_that_nobody_read_are_read_by_get(cache, capsys):
    for name, content in CONTENTS.items():
        (cache / name).write_bytes(content)
    assert main(["weights", "get"]) == DONE
    out, err = capsys.readouterr()
    assert "2 files ready" in out
    assert err == "Reading first.onnx (1 of 2): 0.0/1.5 MB\n"


@pytest.mark.parametrize("bad", ["missing", "damaged"])
def test_verify_reads_the_files(bad, cache, capsys):
    for name, content in CONTENTS.items():
        (cache / name).write_bytes(content)
    assert main(["weights", "verify"]) == DONE
    out = capsys.readouterr().out.splitlines()
    assert out == ["first.onnx  ready", "second.pt   ready"]
    if bad == "missing":
        (cache / "second.pt").unlink()
    else:
        # The right size: only its content tells.
        (cache / "second.pt").write_bytes(b"s" * len(CONTENTS["second.pt"]))
    assert main(["weights", "verify", "--quiet"]) == FAILED
    out, err = capsys.readouterr()
    assert out.split() == ["second.pt", bad]
    assert "1 of 2 files are not right: second.pt" in err
    assert "moca weights get compact" in err


def test_import_takes_files_by_their_content(cache, tmp_path, capsys):
    given = tmp_path / "from a stick.bin"
    given.write_bytes(CONTENTS["second.pt"])
    other = tmp_path / "other.bin"
    other.write_bytes(b"x" * len(CONTENTS["first.onnx"]))
    assert main(["weights", "import", str(given)]) == DONE
    assert capsys.readouterr().out == f"{given}: taken as second.pt (part 2)\n"
    assert (cache / "second.pt").read_bytes() == CONTENTS["second.pt"]
    # One that is none of them doesn't keep the others out.
    given.write_bytes(CONTENTS["first.onnx"])
    assert main(["weights", "import", str(other), str(given)]) == FAILED
    assert "its size is that of first.onnx, its content isn't" in capsys.readouterr().err
    assert (cache / "first.onnx").is_file()


def test_import_of_what_is_not_there(cache, tmp_path, capsys):
    assert main(["weights", "import", str(tmp_path / "absent.bin")]) == FAILED
    assert "absent.bin: can't be read (No such file or directory)" in capsys.readouterr().err


def test_import_on_a_full_disk_stops(cache, tmp_path, monkeypatch, capsys):
    def full(path, name, link):
        raise StorageError(f"{path}: can't be written (No space left on device)", "Free some.")
        yield

    monkeypatch.setattr(importing, "take", full)
    assert main(["weights", "import", "a", "b"]) == FAILED
    assert capsys.readouterr().err.count("No space left") == 1


def test_ctrl_c_stops_an_import(cache, tmp_path, monkeypatch, capsys):
    closed = []

    def slow(path, name, link):
        try:
            yield FetchEvent("a", 0, 100)
            signal.raise_signal(signal.SIGINT)
            yield FetchEvent("a", 50, 100)
            raise AssertionError("it went on")
        finally:
            closed.append(path)

    monkeypatch.setattr(importing, "take", slow)
    assert main(["weights", "import", "a", "b"]) == STOPPED
    assert closed == [Path("a")]
    assert "Stopped. a wasn't taken." in capsys.readouterr().err


def test_a_file_of_ones_own_is_never_called_official(cache, tmp_path, monkeypatch, capsys):
    given = tmp_path / "mine.pt"
    given.write_bytes(b"mine")
    monkeypatch.setattr(importing.structure, "check", lambda name, path: None)
    assert main(["weights", "import", str(given), "--as", "first.onnx", "--quiet"]) == DONE
    assert "it is not the official file" in capsys.readouterr().out
    assert main(["weights", "list"]) == DONE
    assert "0.0 MB  MIT  ready, not the official file" in capsys.readouterr().out
    assert main(["weights", "verify", "first.onnx"]) == DONE
    assert capsys.readouterr().out == "first.onnx  ready, not the official file\n"
    assert main(["weights", "get"]) == DONE
    assert "; not the official file (remove it to fetch that): first" in capsys.readouterr().out
    assert (cache / "first.onnx").read_bytes() == b"mine"


def test_as_takes_one_file(cache, capsys):
    assert main(["weights", "import", "a", "b", "--as", "first.onnx"]) == USAGE
    assert "--as takes one file" in capsys.readouterr().err


# The licence


@pytest.fixture
def restricted(rows, monkeypatch) -> WeightsRow:
    """The first file belongs to ImageBind and may not be used commercially; the second may."""
    first, second = (replace(row, bundle="imagebind") for row in rows)
    first = replace(first, licence="CC BY-NC-SA 4.0")
    monkeypatch.setattr(specs, "ROWS", (first, second))
    return first


class Terminal(io.StringIO):
    """Somebody who answers."""

    def isatty(self) -> bool:
        return True


def test_without_a_terminal_the_terms_need_a_yes(restricted, cache, capsys):
    assert main(["weights", "get", "imagebind"]) == FAILED
    err = capsys.readouterr().err
    assert "non-commercial" in err
    assert "Add --yes" in err
    assert list(cache.iterdir()) == []
    assert main(["weights", "get", "imagebind", "--yes"]) == DONE
    out, err = capsys.readouterr()
    assert "non-commercial" in err
    assert "2 files ready" in out
    # Agreed to once.
    (cache / restricted.name).unlink()
    assert main(["weights", "get", "imagebind"]) == DONE
    assert "non-commercial" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "code"),
    [("y\n", DONE), ("YES\n", DONE), ("\n", FAILED), ("no\n", FAILED), ("", FAILED)],
)
def test_a_terminal_is_asked(answer, code, restricted, cache, monkeypatch):
    shown = Terminal()
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    monkeypatch.setattr("sys.stderr", shown)
    assert main(["weights", "get", "imagebind"]) == code
    assert "Continue? [y/N]" in shown.getvalue()
    assert (cache / restricted.name).exists() is (code == DONE)
    assert bool(licences.pending("imagebind")) is (code == FAILED)


def test_only_the_file_with_the_terms_asks(restricted, cache, capsys):
    assert main(["weights", "get", "second.pt"]) == DONE
    assert "non-commercial" not in capsys.readouterr().err
    assert main(["weights", "get", "first.onnx"]) == FAILED
    assert "non-commercial" in capsys.readouterr().err


def test_what_is_here_asks_nothing(restricted, cache, capsys):
    for name, content in CONTENTS.items():
        (cache / name).write_bytes(content)
    assert main(["weights", "get", "imagebind"]) == DONE
    assert "non-commercial" not in capsys.readouterr().err


def test_the_list_shows_the_terms(restricted, cache, capsys):
    assert main(["weights", "list"]) == DONE
    assert "non-commercial" in capsys.readouterr().out


def test_the_terms_are_shown_once_before_the_first_use(restricted, capsys, tmp_path):
    terms.show_terms_once("imagebind")
    out, err = capsys.readouterr()
    assert out == ""
    assert "non-commercial" in err
    terms.show_terms_once("imagebind")
    terms.show_terms_once("compact")
    assert capsys.readouterr().err == ""


def test_settings_that_cannot_be_written_stop_nothing(restricted, config_home, capsys):
    config_home.touch()
    for _ in range(2):
        terms.show_terms_once("imagebind")
        assert "non-commercial" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["get", "other"], ["fetch"], ["import"]])
def test_wrong_usage(words, capsys):
    assert main(["weights", *words]) == USAGE
    assert "usage: moca weights" in capsys.readouterr().err


def test_every_real_row_can_be_listed(monkeypatch, capsys):
    monkeypatch.setattr(specs, "ROWS", ROWS)
    assert main(["weights", "list"]) == DONE
    out = capsys.readouterr().out
    assert all(row.name in out and row.licence in out for row in ROWS)
    assert "`moca weights get imagebind` fetches what it needs (5.27 GB more)." in out
    assert "`moca weights get sam_vit_l_0b3195.pth`" in out
