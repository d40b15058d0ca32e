"""Every row of the weights table, and the real files where they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from moca_core.models import weights
from moca_core.models.registry import BUNDLE_NAMES, BUNDLES, SAMS, bundle_row
from moca_core.models.specs import (
    ROWS,
    SAM_FILES,
    ArchiveSource,
    UrlSource,
    optional_rows,
    row_named,
    rows_for,
    rows_of,
)
from moca_core.models.weights import State

UNKNOWN = {"dino_deitsmall16_pretrain.pth"}
"""Files whose official SHA-256 no public source that we trust gives."""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_is_complete(row):
    assert row.size > 0
    assert re.fullmatch(r"[0-9a-f]{64}", row.sha256) or row.name in UNKNOWN
    for words in (row.role, row.licence, row.upstream, row.contract):
        assert words.strip() == words != ""
    assert Path(row.name).name == row.name
    assert row.sources
    for source in row.sources:
        if isinstance(source, UrlSource):
            assert source.url.startswith("https://")
        else:
            assert re.fullmatch(r"[\w.-]+==[\w.]+", source.requirement)
            assert source.size > 0
            assert not source.member.startswith("/")
    assert row_named(row.name) is row
    assert row in (optional_rows if row.optional else rows_of)(row.bundle)
    assert row not in (rows_of if row.optional else optional_rows)(row.bundle)


def test_names_and_contents_are_unique():
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert len({row.sha256 for row in ROWS}) == len(ROWS)


def test_every_bundle_has_files_and_its_own_sam():
    assert {row.bundle for row in ROWS} == set(BUNDLE_NAMES)
    sams = {name: f"sam_{name}_" for name in SAMS} | {"mobile": "mobile_sam"}
    for bundle in BUNDLES:
        names = [row.name for row in rows_of(bundle.name)]
        assert sum(name.startswith(sams[bundle.sam]) for name in names) == 1
    for start in sams.values():
        assert sum(row.name.startswith(start) for row in ROWS) == 1


@pytest.mark.parametrize("bundle", BUNDLE_NAMES)
@pytest.mark.parametrize("sam", SAMS)
def test_a_run_needs_its_bundle_with_the_chosen_sam(bundle, sam):
    names = [row.name for row in rows_for(bundle, sam)]
    assert [name for name in names if name in SAM_FILES.values()] == [SAM_FILES[sam]]
    rest = {row.name for row in rows_of(bundle)} - set(SAM_FILES.values())
    assert set(names) - {SAM_FILES[sam]} == rest
    if sam == bundle_row(bundle).sam:
        assert rows_for(bundle, sam) == rows_of(bundle)


def test_who_may_not_use_a_file_commercially_is_told():
    """Its bundle has terms, which are shown before it is fetched."""
    assert {row.name for row in ROWS if row.non_commercial} == {"imagebind_huge.pth"}
    assert all(bundle_row(row.bundle).terms for row in ROWS if row.non_commercial)
    (imagebind,) = (row for row in ROWS if row.non_commercial)
    assert imagebind.licence in bundle_row("imagebind").terms


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_size_a_file_may_have(row):
    assert row.may_be(row.size)
    assert row.may_be(row.size + 1) is (row.name in UNKNOWN)
    assert not row.may_be(row.size * 9 // 10)


def test_rows_of_one_archive_are_neighbours():
    """So that the archive is fetched once."""
    first = [row.sources[0] for row in ROWS]
    names = [source.requirement for source in first if isinstance(source, ArchiveSource)]
    changes = [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name]
    assert len(changes) == len(set(names))


@pytest.mark.weights
def test_the_fetched_files_are_those_of_the_rows(weights_dir, monkeypatch):
    monkeypatch.setenv("MOCA_CACHE_DIR", str(weights_dir.parent))
    found = {event.row.name: event.state for event in weights.verify(rows_of("compact"))}
    assert found == {row.name: State.READY for row in rows_of("compact")}
