"""The report of `moca sensitivity`: numbers, tables of text, and the ROC curves as a plot."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

import numpy as np

from moca_core.evaluation.layouts import ONE_OF_SEVERAL
from moca_core.evaluation.metrics import standard_error
from moca_core.evaluation.roc import Roc, roc
from moca_core.evaluation.sensitivity import CHANGES, Changed, SoundRecord
from moca_core.evaluation.text import aligned, with_error
from moca_core.export.svg import Axis, Series, line_plot

RIGHT_IOU = 0.5
"""IoU from which a mask counts as right by its borders, too."""
_TICKS = tuple((tick / 5, f"{tick / 5:.1f}") for tick in range(6))


def make_report(
    done: Sequence[SoundRecord],
    failed: Sequence[str],
    seconds: float,
    config: Mapping[str, Any],
    incomplete: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """The result of `sensitivity --json`: shares and means, with standard errors as `*_se`.

    Cases of one picture (or clip) count together in the errors.

    Returns
    -------
    `pictures`, `sounds`; `changes`: by subset and change (see `_change`); `one_of_several` (see
    `_one_of_several`) or None; `absent` (see `_absent`); `roc`: by name the fields of `Roc`;
    `cases`: every `SoundRecord`; `seconds`, `failed`, `incomplete`, `config`.
    """
    present = [record for record in done if record.present]
    subsets: dict[str, list[SoundRecord]] = {}
    for record in present:
        subsets.setdefault(record.subset, []).append(record)
    return {
        "pictures": len({record.picture for record in done}),
        "sounds": len(done),
        "changes": {name: _changes(records) for name, records in subsets.items()},
        "one_of_several": _one_of_several(done),
        "absent": _absent(done),
        "roc": {name: asdict(curve) for name, curve in _curves(done).items()},
        "cases": [asdict(record) for record in done],
        "seconds": seconds,
        "failed": list(failed),
        "incomplete": dict(incomplete),
        "config": dict(config),
    }


def _changes(records: Sequence[SoundRecord]) -> dict[str, Any]:
    """The own sound of some cases and each change of it; see `_change`."""
    result: dict[str, Any] = {"own": {"n": len(records)}}
    groups = [record.group for record in records]
    _put(result["own"], "iou", [record.iou for record in records], groups)
    _put(result["own"], "empty", [record.empty for record in records], groups)
    for name in CHANGES:
        part = [(record, record.changes[name]) for record in records if name in record.changes]
        if part:
            result[name] = _change(part)
    return result


def _change(part: Sequence[tuple[SoundRecord, Changed]]) -> dict[str, Any]:
    """What a changed sound does.

    Returns
    -------
    `n`; `alike`: mean IoU of the masks for both sounds; `same`: share of equal ones; `empty`: share
    of empty ones for the changed sound; `iou`: of its masks with the truth of the own sound;
    `gain`: by how much the IoU of the masks for the own sound is more than that.
    """
    result: dict[str, Any] = {"n": len(part)}
    groups = [record.group for record, _ in part]
    values: dict[str, Callable[[SoundRecord, Changed], float]] = {
        "alike": lambda record, changed: changed.alike,
        "same": lambda record, changed: changed.same,
        "empty": lambda record, changed: changed.empty,
        "iou": lambda record, changed: changed.iou,
        "gain": lambda record, changed: record.iou - changed.iou,
    }
    for name, value in values.items():
        _put(result, name, [value(*item) for item in part], groups)
    return result


def _one_of_several(done: Sequence[SoundRecord]) -> dict[str, Any] | None:
    """Pictures that come with one of several sounds at a time, each with a truth of its own.

    A mask is right if it is nearest to the truth of its sound: nearer than to another sound's,
    and to the union of all.

    Returns
    -------
    `pictures`, `sounds`; `all_right`, `some_right`, `none_right`: shares of the pictures whose
    sounds all, in part, or none give a right mask; `all_right_half`: all right, with an IoU of at
    least `RIGHT_IOU`; `same`: the masks for all of the sounds are equal; `iou`, `wrong`: mean IoU
    with the right truth and with the nearest wrong one; `gain`: their difference. None without
    such a picture.
    """
    records = [item for item in done if item.subset == ONE_OF_SEVERAL and item.wrong is not None]
    by_picture: dict[str, list[SoundRecord]] = {}
    for record in records:
        by_picture.setdefault(record.picture, []).append(record)
    pictures = [sounds for sounds in by_picture.values() if len(sounds) > 1]
    if not pictures:
        return None
    rights = [[record.nearest == "right" for record in sounds] for sounds in pictures]
    good = [all(record.iou >= RIGHT_IOU for record in sounds) for sounds in pictures]
    shares: dict[str, list[float]] = {
        "all_right": [all(right) for right in rights],
        "some_right": [any(right) and not all(right) for right in rights],
        "none_right": [not any(right) for right in rights],
        "all_right_half": [all(right) and fits for right, fits in zip(rights, good, strict=True)],
        "same": [all(record.same for record in sounds) for sounds in pictures],
    }
    result: dict[str, Any] = {"pictures": len(pictures), "sounds": sum(map(len, pictures))}
    for name, values in shares.items():
        _put(result, name, values, [sounds[0].group for sounds in pictures])
    paired = [(item, item.wrong or 0.0) for sounds in pictures for item in sounds]
    groups = [item.group for item, _ in paired]
    _put(result, "iou", [item.iou for item, _ in paired], groups)
    _put(result, "wrong", [wrong for _, wrong in paired], groups)
    _put(result, "gain", [item.iou - wrong for item, wrong in paired], groups)
    return result


def _absent(done: Sequence[SoundRecord]) -> dict[str, dict[str, Any]]:
    """Share left empty, by kind of sound that nothing visible makes, or by which nothing is heard.

    `absent`: sounds that the data set gives with an empty truth; then the names in `CHANGES` of
    sounds that don't have the own one in them.
    """
    kinds: dict[str, list[tuple[bool, str]]] = {
        "absent": [(record.empty, record.group) for record in done if not record.present]
    }
    for name in (name for name in CHANGES if name != "mixed"):
        kinds[name] = [
            (record.changes[name].empty, record.group) for record in done if name in record.changes
        ]
    result: dict[str, dict[str, Any]] = {}
    for name, values in kinds.items():
        if values:
            result[name] = {"n": len(values)}
            _put(result[name], "empty", *map(list, zip(*values, strict=True)))
    return result


def _curves(done: Sequence[SoundRecord]) -> dict[str, Roc]:
    """ROC curves of the score, own sounds against those that nothing visible makes.

    `absent`: on the pictures that the data set gives both kinds of sounds for, of the first kind
    those of one of several sources if there are any; `swapped`, `noise`: on all of the others.
    """
    absent = [record for record in done if not record.present]
    pictures = {record.picture for record in absent}
    own = [record for record in done if record.present and record.picture in pictures]
    own = [record for record in own if record.subset == ONE_OF_SEVERAL] or own
    found = {"absent": _curve([(r, r) for r in own], [(r, r) for r in absent])}
    for name in ("swapped", "noise"):
        part = [record for record in done if name in record.changes]
        found[name] = _curve([(r, r) for r in part], [(r, r.changes[name]) for r in part])
    return {name: curve for name, curve in found.items() if curve is not None}


_Heard = Sequence[tuple[SoundRecord, SoundRecord | Changed]]


def _curve(positive: _Heard, negative: _Heard) -> Roc | None:
    both = [*positive, *negative]
    return roc(
        [said.score for _, said in both],
        np.arange(len(both)) < len(positive),
        [not said.empty for _, said in both],
        [record.group for record, _ in both],
    )


def _put(
    result: dict[str, Any], name: str, values: Sequence[float], groups: Sequence[Hashable]
) -> None:
    values = [float(value) for value in values]
    result[name] = float(np.mean(values))
    result[f"{name}_se"] = standard_error(values, groups)


def text_tables(report: Mapping[str, Any]) -> str:
    """The report as tables, standard errors in brackets."""
    rows = [["subset", "sound", "n", "alike", "unchanged", "empty", "IoU", "gain of own"]]
    for subset, changes in report["changes"].items():
        for name, part in changes.items():
            keys = ("alike", "same", "empty", "iou", "gain")
            rows.append([subset, name, str(part["n"]), *(_cell(part, key) for key in keys)])
    tables = [aligned(rows, left=2)]
    several = report["one_of_several"]
    if several:
        heads = ["pictures", "all right", "in part", "none", f"all right, IoU {RIGHT_IOU:g}"]
        heads += ["unchanged", "IoU right", "IoU wrong", "gain"]
        keys = ("all_right", "some_right", "none_right", "all_right_half", "same")
        cells = [_cell(several, key) for key in (*keys, "iou", "wrong", "gain")]
        tables.append(aligned([heads, [str(several["pictures"]), *cells]]))
    rows = [["nothing sounds", "n", "left empty", "ROC area", "own sounds", "not left empty"]]
    for name, part in report["absent"].items():
        curve = report["roc"].get(name)
        cells = ["-", "-", "-"]
        if curve:
            cells = [_cell(curve, "area"), str(curve["positives"]), f"{curve['point'][1]:.3f}"]
        rows.append([name, str(part["n"]), _cell(part, "empty"), *cells])
    if len(rows) > 1:
        tables.append(aligned(rows))
    return "\n".join(tables)


def _cell(part: Mapping[str, Any], key: str) -> str:
    return with_error(part.get(key), part.get(f"{key}_se"))


def roc_plot(report: Mapping[str, Any]) -> str:
    """The ROC curves of a report as an SVG document, with a mark where the masks of each are."""
    series: list[Series] = []
    for name, curve in report["roc"].items():
        false, true = curve["point"]
        series.append(
            Series(f"{name}: {curve['area']:.3f}", curve["false"], curve["true"], markers=False)
        )
        series.append(Series(f"masks, {name}", (false,), (true,)))
    series.append(Series("chance", (0.0, 1.0), (0.0, 1.0), markers=False))
    return line_plot(
        "Telling that something visible sounds",
        series,
        Axis("share of sounds that nothing visible makes, above a threshold", 0.0, 1.0, _TICKS),
        Axis("share of own sounds", 0.0, 1.0, _TICKS),
        (700, 460),
    )
