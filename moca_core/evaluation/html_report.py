"""The report of an evaluation as one HTML page that needs nothing else: no script, no network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from moca_core import __version__
from moca_core.errors import DatasetError, MediaError
from moca_core.evaluation.layouts import DataSet
from moca_core.evaluation.records import CaseRecord, to_line
from moca_core.evaluation.report import sections, words
from moca_core.evaluation.report.cases import ShownCase, best_and_worst, shown_case, unreadable
from moca_core.evaluation.report.estimates import Part, intervals, parts_of
from moca_core.evaluation.report.markup import Markup, tag
from moca_core.evaluation.runner import WINDOW_S, Sounds, load_case
from moca_core.fileio import write_bytes
from moca_core.pipeline.segmenter import Segmenter
from moca_core.types import StageEvent

FILE_NAME = "report.html"
PICTURES_BYTES = 2_600_000
"""Most that all pictures of a page take together; as text they are a third larger."""
PAGE_VERSION = 1
"""Raised whenever the same results give another page."""
_PANELS = 5
_MARK, _HEAD_BYTES = "moca-results", 1000
"""The page's note of which results it shows, and how many bytes of the page hold it."""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Told to the browser: whatever the page holds, it fetches and runs nothing."""

Shown = dict[str, tuple[list[ShownCase], list[ShownCase]]]


def write_html(
    folder: Path,
    report: Mapping[str, Any],
    records: Sequence[CaseRecord],
    data: DataSet,
    segmenter: Segmenter | None,
) -> Iterator[StageEvent]:
    """Write `folder/report.html`; yields before each case that is looked at again.

    A page of the same results that is there is left as it is.

    Parameters
    ----------
    report : the result in the shape of `evaluate --json`.
    records : what it was made of, at least one.
    data : the data set, whose files give the pictures of the best and the worst cases.
    segmenter : looks at these again, for their maps; None: pictures and truths only.

    Raises
    ------
    WeightsError : the encoders can't be loaded.
    StorageError : the page can't be written.
    """
    path = Path(folder) / FILE_NAME
    mark = _mark(report, records, segmenter is not None)
    if _is_marked(path, mark):
        return
    yield StageEvent("computing intervals")
    parts = parts_of(report, records, "per_subset", "subset")
    categories = parts_of(report, records, "per_category", "category")
    everything = Part("all", records, report, intervals(records))
    shown: Shown = {}
    yield from _look_again(shown, parts, data, segmenter)
    yield StageEvent("writing the page")
    head = _head(words.title_of(report["config"]), mark)
    body = _body(report, data, parts, categories, everything, shown)
    page = f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"
    # Names from other systems may hold what isn't text; `markup.text` has replaced it.
    write_bytes(path, page.encode())


def _mark(report: Mapping[str, Any], records: Sequence[CaseRecord], maps: bool) -> str:
    """Hex digits that name the results; the page keeps them."""
    digest = hashlib.sha256(json.dumps([PAGE_VERSION, maps, report]).encode())
    for record in records:
        digest.update(to_line(record).encode(errors="backslashreplace"))
    return digest.hexdigest()


def _is_marked(path: Path, mark: str) -> bool:
    """Whether a page of these results is there."""
    try:
        with path.open("rb") as stream:
            return mark.encode() in stream.read(_HEAD_BYTES)
    except OSError:
        return False


def _look_again(
    shown: Shown, parts: Sequence[Part], data: DataSet, segmenter: Segmenter | None
) -> Iterator[StageEvent]:
    """Fill `shown` with the best and the worst cases of each subset."""
    chosen = {part.name: best_and_worst(part.records) for part in parts}
    total = sum(len(best) + len(worst) for best, worst in chosen.values())
    most = PICTURES_BYTES // max(_PANELS * total, 1)
    by_id = {case.id: case for case in data.cases}
    done = 0
    with Sounds(segmenter.window_s if segmenter else WINDOW_S) as sounds:
        for subset, lists in chosen.items():
            shown[subset] = ([], [])
            for into, records in zip(shown[subset], lists, strict=True):
                for record in records:
                    yield StageEvent("drawing the best and the worst cases", done, total)
                    try:
                        loaded = load_case(by_id[record.id], sounds)
                        into.append(shown_case(record, loaded, segmenter, most))
                    except (DatasetError, MediaError) as error:
                        into.append(unreadable(record, error))
                    done += 1


def _body(
    report: Mapping[str, Any],
    data: DataSet,
    parts: Sequence[Part],
    categories: Sequence[Part],
    everything: Part,
    shown: Shown,
) -> Markup:
    config = report["config"]
    noun = "clips" if data.clips else "pictures"
    drawn = [case for lists in shown.values() for part in lists for case in part]
    chapters = (
        ("results", "Results", sections.results(parts, everything, categories, noun)),
        ("plots", "Plots", sections.figures(parts, everything, categories)),
        ("cases", "Best and worst cases", sections.cases(shown)),
        ("protocol", "Protocol", sections.protocol(data, parts, noun)),
        ("timings", "Timings", sections.timings(everything.records, drawn)),
        ("origin", "Device, settings, versions, weights", [*sections.provenance(config)]),
    )
    written = f"Written {datetime.now(UTC):%d %B %Y, %H:%M} UTC by MoCA Studio {__version__}"
    extent = words.extent_of(config, data)
    links = [tag("li", tag("a", name, href=f"#{key}")) for key, name, _ in chapters]
    return tag(
        "body",
        tag(
            "header",
            tag("h1", f"Evaluation of {words.title_of(config)}"),
            tag("p", written, class_="muted"),
            tag("p", extent) if extent else Markup(),
        ),
        sections.missing(report, data),
        sections.key_numbers(everything, noun),
        tag("nav", tag("h2", "Contents", id="contents"), tag("ol", links), aria_label="Contents"),
        tag(
            "main",
            [
                tag("section", tag("h2", name, id=key), content, aria_labelledby=key)
                for key, name, content in chapters
            ],
        ),
    )


def _head(title: str, mark: str) -> Markup:
    style = files("moca_core.evaluation.report").joinpath("style.css").read_text("utf-8")
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name_=_MARK, content=mark),
        tag("title", f"Evaluation of {title} - MoCA Studio"),
        # The sheet is ours and holds no "</": nothing in it may be escaped.
        tag("style", Markup(style)),
    )
