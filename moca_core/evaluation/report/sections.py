"""The sections of a report as HTML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from moca_core.bench.report import machine_facts
from moca_core.evaluation.layouts import ONE_OF_SEVERAL, DataSet
from moca_core.evaluation.records import CaseRecord
from moca_core.evaluation.report import plots, words
from moca_core.evaluation.report.cases import FOUND_COLOUR, TRUTH_COLOUR, ShownCase
from moca_core.evaluation.report.charts import colour_bar
from moca_core.evaluation.report.classes import class_section
from moca_core.evaluation.report.estimates import METRICS, SHARES, Part, roc_of
from moca_core.evaluation.report.markup import Child, Markup, joined, tag
from moca_core.evaluation.report.tables import flat, meanings, numbers_table, plain_table
from moca_core.export.drawing import INK, Colour
from moca_core.models.specs import row_named
from moca_core.models.stored import sha256_of

_LISTED = 20
"""Clips or cases that are named where something is missing."""
_APART = ("versions", "device", "weights", "weights_not_official")
"""Parts of the configuration that have tables of their own."""


def key_numbers(everything: Part, noun: str) -> Markup:
    """The few numbers that one looks for first."""
    cells = [_key("cases", str(len(everything.records)), f"of {everything.groups} {noun}")]
    for metric in METRICS[:3]:
        value, interval = everything.numbers.get(metric.key), everything.intervals[metric.key]
        if value is not None:
            between = f"{interval.low:.3f} to {interval.high:.3f}" if interval else ""
            cells.append(_key(metric.name, f"{value:.3f}", between))
    return tag("dl", cells, class_="key")


def _key(name: str, value: str, more: str) -> Markup:
    return tag("div", tag("dt", name), tag("dd", value, tag("small", more)))


def missing(report: Mapping[str, Any], data: DataSet) -> Markup:
    """What isn't in the numbers; nothing if all is."""
    parts = []
    for names, what in (
        ([f"{clip} ({lack})" for clip, lack in report.get("incomplete", {}).items()], "clips"),
        (list(report.get("failed", [])), "cases"),
    ):
        if names:
            total = data.clips if what == "clips" else len(data.cases)
            verb = "are incomplete" if what == "clips" else "could not be read"
            more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            listed = ", ".join(names[:_LISTED]) + more
            parts.append(
                tag("p", f"{len(names)} of {total} {what} {verb} and are left out: {listed}.")
            )
    if data.remark:
        parts.append(tag("p", f"{data.remark[0].upper()}{data.remark[1:]}."))
    return tag("div", parts, class_="warning") if parts else Markup()


def protocol(data: DataSet, parts: Sequence[Part], noun: str) -> Markup:
    """What was measured, and by which definitions."""
    metrics = (*METRICS, *(SHARES if any(part.one_of_several for part in parts) else ()))
    return joined(
        [tag("p", paragraph) for paragraph in words.protocol(data, noun)],
        tag("h3", "Subsets"),
        plain_table(
            "What the subsets are",
            ("subset", "empty truths", "what it is"),
            words.subset_rows(parts),
        ),
        tag("h3", "Numbers"),
        meanings(metrics),
    )


def results(
    parts: Sequence[Part], everything: Part, categories: Sequence[Part], noun: str
) -> Markup:
    """The tables by subset and by category."""
    how = "mean, ± standard error, 95\u00a0% bootstrap interval"
    rows = parts if len(parts) == 1 else (*parts, everything)
    found = [tag("h3", "By subset"), numbers_table(f"By subset: {how}", "subset", rows, noun)]
    several = [part for part in parts if part.one_of_several]
    if several:
        caption = f"Which true mask of its picture a mask is nearest to: {how}"
        found.append(numbers_table(caption, "subset", several, noun, SHARES))
    if categories:
        ordered = sorted(categories, key=lambda part: part.name)
        table = numbers_table(f"By category, all subsets: {how}", "category", ordered, noun)
        found += [tag("h3", "By category"), table]
    return joined(found, class_section(everything))


def figures(parts: Sequence[Part], everything: Part, categories: Sequence[Part]) -> Markup:
    """All plots."""
    found = [tag("h3", "IoU of the cases"), tag("div", plots.histograms(parts), class_="grid")]
    curves = plots.f_curves(parts)
    if curves is not None:
        found += [tag("h3", "F-score over threshold"), curves]
    if categories:
        found += [tag("h3", "Categories"), *plots.category_bars(categories)]
    shares = [plots.share_bars(part) for part in parts if part.one_of_several]
    if shares:
        found += [tag("h3", "Which sound the masks follow"), *shares]
    curve = roc_of(everything.records)
    if curve is not None:
        found += [tag("h3", "Telling that nothing visible sounds"), plots.roc_plot(*curve)]
    return joined(found)


def cases(shown: Mapping[str, tuple[Sequence[ShownCase], Sequence[ShownCase]]]) -> Markup:
    """Best and worst cases of each subset, and how to read their pictures."""
    everyone = [case for lists in shown.values() for part in lists for case in part]
    maps = any(case.facts for case in everyone)
    several = any(case.record.subset == ONE_OF_SEVERAL for case in everyone)
    found = [_legend(maps, several)]
    if not maps:
        found.append(
            tag("p", "Only the method itself is looked at again: here are pictures and truths.")
        )
    for subset, lists in shown.items():
        found.append(tag("h3", subset))
        for name, part in zip(("Best", "Worst"), lists, strict=True):
            if part:
                found += [tag("h4", name), *(_case(case) for case in part)]
    return joined(found)


def _legend(maps: bool, several: bool) -> Markup:
    on_prediction = " (on the prediction: dashed)" if maps else ""
    items = [(_swatch(TRUTH_COLOUR, False), f"truth{on_prediction}")]
    if several:
        items.append((_swatch(INK, True), "truth of another sound of the picture"))
    if maps:
        items.append((_swatch(FOUND_COLOUR, False), "prediction"))
        bar = colour_bar("Colours of the maps from 0 to 1")
        items.append((bar, "evidence and region (below 0 as 0)"))
    return tag("ul", [tag("li", mark, tag("span", name)) for mark, name in items], class_="legend")


def _swatch(colour: Colour, dashed: bool) -> Markup:
    """A line as it is drawn on the pictures, on a dark ground as theirs may be."""
    line = tag(
        "rect",
        x=5,
        y=5,
        width=34,
        height=14,
        fill="none" if dashed else f"rgb{colour}",
        fill_opacity=None if dashed else 0.45,
        stroke=f"rgb{colour}",
        stroke_width=2,
        stroke_dasharray="5 4" if dashed else None,
    )
    ground = tag("rect", width=44, height=24, rx=3, fill="#40444c")
    return tag("svg", ground, line, viewBox="0 0 44 24", aria_hidden="true")


def _case(case: ShownCase) -> Markup:
    record = case.record
    numbers: list[tuple[str, Child]] = [("IoU", tag("b", f"{record.j:.3f}"))]
    if record.f_binary is not None:
        numbers.append(("F binary", f"{record.f_binary:.3f}"))
    if record.nearest:
        numbers.append(("nearest", record.nearest))
    if record.category:
        numbers.append(("category", record.category))
    facts = [*numbers, *case.facts]
    line = [tag("code", record.id)]
    line += [joined(" · ", tag("span", name, class_="muted"), " ", value) for name, value in facts]
    panels = [
        tag(
            "figure",
            tag("img", src=panel.address, alt=panel.alt),
            tag("figcaption", panel.title),
        )
        for panel in case.panels
    ]
    return tag(
        "div",
        tag("p", *line, class_="facts"),
        tag("p", case.note, class_="note") if case.note else Markup(),
        tag("div", panels, class_="panels"),
        class_="case",
    )


def timings(records: Sequence[CaseRecord], shown: Sequence[ShownCase]) -> Markup:
    """What the cases took, and the stages of those that were looked at again."""
    seconds = np.array([record.seconds for record in records])
    rows = [
        ("one case, median", _seconds(float(np.median(seconds)))),
        ("one case, 95th percentile", _seconds(float(np.percentile(seconds, 95)))),
        ("all cases together", _seconds(float(seconds.sum()))),
    ]
    found = [
        tag(
            "p",
            "A case's time is that of reading, predicting and scoring it, whenever that was done; "
            "what several processes did side by side is summed.",
        ),
        plain_table("Times", ("what", "seconds"), rows, numbers=True),
    ]
    again = [case.seconds for case in shown if case.seconds]
    if again:
        stages = [(name, _seconds(float(np.mean([s[name] for s in again])))) for name in again[0]]
        caption = f"Stages, mean of the {len(again)} cases that were looked at again for this page"
        found.append(plain_table(caption, ("stage", "seconds"), stages, numbers=True))
    return joined(found)


def _seconds(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def provenance(config: Mapping[str, Any]) -> Iterator[Markup]:
    """Device, settings, versions and weights."""
    device = config.get("device", {})
    yield tag("h3", "Device")
    yield plain_table("What computed", ("what", "value"), list(flat(device)))
    facts = {key: value for key, value in machine_facts().items() if key != "versions"}
    yield plain_table("The machine that wrote this page", ("what", "value"), list(flat(facts)))
    yield tag("h3", "Settings")
    settings = {key: value for key, value in config.items() if key not in _APART}
    yield plain_table("All settings of the run", ("setting", "value"), list(flat(settings)))
    yield tag("h3", "Versions")
    versions = config.get("versions", {})
    yield plain_table("The program and its libraries", ("package", "version"), list(flat(versions)))
    yield tag("h3", "Weights")
    yield _weights(config)


def _weights(config: Mapping[str, Any]) -> Markup:
    """The files of the networks that the run names, each with its SHA-256."""
    rows: list[tuple[Child, ...]] = []
    for name, digits in config.get("weights", {}).items():
        row = row_named(name)
        role = row.role if row else ""
        if name in config.get("weights_not_official", ()):
            role += " (not the official file)"
        licence = tag("span", row.licence if row else "", class_="together")
        rows.append((name, role, licence, tag("code", digits)))
    adapter = config.get("adapter")
    if adapter and Path(adapter).is_file():
        digits = sha256_of(Path(adapter))
        rows.append((Path(adapter).name, "adapter", "", tag("code", digits)))
    if not rows:
        return tag("p", "The run names no files of networks.")
    heads = ("file", "what it does", "licence", "SHA-256")
    return plain_table("Files of the networks", heads, rows)
