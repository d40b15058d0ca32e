"""Saving: whole or not at all, and readable by others."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from moca_core.errors import StorageError
from moca_core.fileio import atomic_write, write_bytes, write_json


def test_written_with_its_folders(tmp_path):
    path = tmp_path / "a" / "b" / "file.bin"
    write_bytes(path, b"content")
    assert path.read_bytes() == b"content"
    assert [item.name for item in path.parent.iterdir()] == ["file.bin"]


def test_an_error_while_writing_keeps_the_old_content(tmp_path):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as stream:
        stream.write(b"half of the ne")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_keeps_the_old_content(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os if step == "fsync" else Path, step, full)
        with pytest.raises(StorageError, match="No space left") as caught:
            write_bytes(path, b"new")
    assert str(path) in caught.value.message
    assert "space" in caught.value.hint
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def test_no_wait_for_the_disk_where_none_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", None)
    write_bytes(tmp_path / "file", b"content", sync=False)
    assert (tmp_path / "file").read_bytes() == b"content"
    with pytest.raises(TypeError):
        write_bytes(tmp_path / "file", b"content")


@pytest.mark.parametrize("place", ["file/inside", "folder"])
def test_places_that_cant_be_files(tmp_path, place):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "full").mkdir(parents=True)
    with pytest.raises(StorageError) as caught:
        write_bytes(tmp_path / place, b"content")
    assert caught.value.hint
    assert sorted(item.name for item in tmp_path.iterdir()) == ["file", "folder"]


def test_a_reader_sees_the_old_or_the_new(tmp_path):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with atomic_write(path) as stream:
        stream.write(b"new")
        stream.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_others_may_read_it_as_any_file(tmp_path):
    write_bytes(tmp_path / "ours", b"")
    (tmp_path / "usual").write_bytes(b"")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "usual")]
    assert modes[0] == modes[1]


def test_json(tmp_path):
    value = {"name": "Gerät", "numbers": [1, 2.5, None, True]}
    write_json(tmp_path / "file.json", value)
    text = (tmp_path / "file.json").read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert "Gerät" in text
    assert text.endswith("\n")


def test_json_with_the_name_of_a_file_that_isnt_text(tmp_path):
    name = os.fsdecode(b"clip-\xff.mp4")
    write_json(tmp_path / "file.json", {"clip": name})
    assert json.loads((tmp_path / "file.json").read_text(encoding="utf-8"))["clip"] == name
