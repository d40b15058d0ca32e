"""The terms of a bundle are pending until they were shown, and once more when they change."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from moca_core.errors import StorageError
from moca_core.models import registry
from moca_core.models.licences import pending, remember, shown_on


def test_a_bundle_without_terms_has_nothing_to_show():
    assert pending("compact") == ""


def test_terms_are_pending_until_they_are_remembered():
    assert "non-commercial" in pending("imagebind")
    assert shown_on("imagebind") == ""
    remember("imagebind")
    assert pending("imagebind") == ""
    assert shown_on("imagebind")[:2] == "20"


def test_terms_that_changed_are_shown_again(monkeypatch):
    remember("imagebind")
    rows = tuple(replace(row, terms=row.terms and "Other terms.") for row in registry.BUNDLES)
    monkeypatch.setattr(registry, "BUNDLES", rows)
    assert pending("imagebind") == "Other terms."


def test_what_is_remembered_of_one_bundle_stays_when_another_is(config_home):
    remember("imagebind")
    remember("compact")
    assert pending("imagebind") == ""
    assert set(json.loads((config_home / "licences.json").read_text())) == {"imagebind", "compact"}


@pytest.mark.parametrize("words", ["", "{", "[]", '{"imagebind": 3}', '{"imagebind": {"on": 1}}'])
def test_a_damaged_file_shows_them_again(words, config_home):
    config_home.mkdir()
    (config_home / "licences.json").write_text(words)
    assert pending("imagebind")
    remember("imagebind")
    assert pending("imagebind") == ""


def test_a_folder_that_cannot_be_written(config_home):
    config_home.touch()
    with pytest.raises(StorageError):
        remember("imagebind")
    assert pending("imagebind")


def test_another_name():
    with pytest.raises(KeyError):
        pending("huge")
