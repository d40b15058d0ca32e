"""What a report says of its protocol, in words (METHOD.md section 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moca_core.evaluation.bootstrap import LEVEL, RESAMPLES, SEED
from moca_core.evaluation.layouts import DataSet
from moca_core.evaluation.report.estimates import Part

SUBSETS: Mapping[str, str] = {
    "single": "one source, seen and heard",
    "ms_one": "two possible sources are seen, one is heard; each picture comes with both sounds",
    "ms_both": "two sources are seen and both are heard",
    "ms_off": "what is heard isn't in the picture: the truth is empty",
}
"""Of the layout `pairs`; elsewhere a subset is a split."""


def title_of(config: Mapping[str, Any]) -> str:
    """What was evaluated, on what."""
    baseline = config.get("baseline", "none")
    what = config.get("bundle", "") if baseline == "none" else f"baseline {baseline}"
    split = f", split {config['split']}" if config.get("split") else ""
    return f"{what} on {config.get('layout', '')}{split}"


def extent_of(config: Mapping[str, Any], data: DataSet) -> str:
    """Which part of the data set was asked for; "" where it is all."""
    if not config.get("limit"):
        return ""
    spread = "in whole clips, " if data.clips else ""
    return f"At most {config['limit']} cases were asked for, {spread}spread evenly over the set."


def protocol(data: DataSet, noun: str) -> list[str]:
    """Paragraphs: what a case is, what an empty truth means, what the errors are."""
    sizes = {case.size for case in data.cases}
    if sizes == {None}:
        size = "at the size of the true mask"
    else:
        named = sorted({f"{size[1]} x {size[0]}" for size in sizes if size is not None})
        size = f"at {', '.join(named)} pixels"
    heard = "the sound around the middle of its second" if data.clips else "a whole sound"
    return [
        f"A case is a picture with {heard}, and the true mask of what makes it. Masks are compared "
        f"{size}. Every number is a mean over cases and doesn't depend on how many were computed "
        "at once.",
        "An empty truth means that nothing in the picture makes the sound. The right answer is an "
        "empty mask; every pixel that is claimed costs IoU of the background, and such cases have "
        "no F-score.",
        "± is the standard error of the mean. Cases that share a picture or a clip aren't "
        f"independent: within a {noun[:-1]} their errors are summed before they are squared.",
        f"Intervals are {100 * LEVEL:.0f} % bootstrap intervals (percentiles): {noun} are drawn "
        f"with replacement, each with all its cases, {RESAMPLES} times (seed {SEED}), and every "
        "number is computed anew, the best threshold of F max, set included. They say how much "
        f"the numbers would move with other {noun} of the same kind, and nothing of other data. "
        f"Of very few {noun} they are too narrow; where all cases agree they have no width, which "
        "is no certainty.",
    ]


def subset_rows(parts: Sequence[Part]) -> list[tuple[str, str, str]]:
    """Name, empty truths and meaning of each subset."""
    return [
        (part.name, f"{part.empty_truths} of {len(part.records)}", SUBSETS.get(part.name, ""))
        for part in parts
    ]
