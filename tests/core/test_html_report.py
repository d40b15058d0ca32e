"""The HTML report: one page that is whole, says what the numbers are, and survives odd data."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from avsbench_fakes import (
    ALL,
    EMPTY,
    LEFT,
    avss_tree,
    s4_tree,
    semantic,
    write_png,
    write_table,
    write_wav,
)
from cli_fakes import LeftHalf

from moca_core.config import SegmentConfig
from moca_core.errors import StorageError
from moca_core.evaluation import html_report
from moca_core.evaluation.baselines import BASELINES, predict_with
from moca_core.evaluation.html_report import FILE_NAME, write_html
from moca_core.evaluation.layouts import LAYOUTS, DataSet
from moca_core.evaluation.records import CaseRecord
from moca_core.evaluation.report import cases as report_cases
from moca_core.evaluation.report.cases import best_and_worst
from moca_core.evaluation.report.charts import Bar, bars, histogram
from moca_core.evaluation.report.estimates import intervals, roc_of
from moca_core.evaluation.report.markup import Markup, joined, tag, text
from moca_core.evaluation.runner import CaseEvent, evaluate, summary
from moca_core.pipeline.segmenter import Segmenter
from moca_core.types import Prediction, ReportEvent, StageEvent

SIZE = (40, 60)
HALF, NONE = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
HALF[:, :30] = True
NASTY = "</style><script>alert('x')</script>&\"\x07"
VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """What a page holds; raises where elements don't end as they began."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: dict[str, list[str]] = {}
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for name in set(self.open):
            self.words.setdefault(name, []).append(data)

    def of(self, tag: str) -> list[dict[str, str]]:
        """The attributes of all elements of a name."""
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self, tag: str = "body") -> str:
        """All words within elements of a name."""
        return " ".join(self.words.get(tag, []))


@pytest.fixture
def pairs(tmp_path: Path) -> DataSet:
    """Four pictures of the left half, one with two sounds, one whose sound isn't seen."""
    root = tmp_path / "data"
    rows = [["id", "split", "subset", "category", "image", "mask", "audio"]]

    def add(name: str, subset: str, category: str, image: str, truth: np.ndarray) -> None:
        noise = np.random.default_rng(len(rows)).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
        write_png(root / f"{image}.png", noise)
        write_png(root / f"m{len(rows)}.png", truth.astype(np.uint8) * 255)
        rows.append([name, "dev", subset, category, f"{image}.png", f"m{len(rows)}.png", "a.wav"])

    samples = (np.sin(np.arange(16000) * 0.2) * 20000).astype(np.int16)
    write_wav(root / "a.wav", samples)
    add("s1", "single", "bell", "p1", HALF)
    add("s2", "single", "dog+cat", "p2", ~HALF)
    add("one_a", "ms_one", "bell", "p3", HALF)
    add("one_b", "ms_one", "dog+cat", "p3", ~HALF)
    add("off", "ms_off", "wind", "p4", NONE)
    write_table(root / "manifest.csv", rows)
    return LAYOUTS["pairs"](root, None, None)


def scored(
    data: DataSet, predict: Any, config: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], list[CaseRecord]]:
    records = []
    given = {"baseline": "none", "layout": "pairs", "dataset": "data", "split": None}
    for event in evaluate(data, predict, given | dict(config or {})):
        if isinstance(event, CaseEvent):
            records.append(event.record)
        elif isinstance(event, ReportEvent):
            return event.report, records
    raise AssertionError("no report")


def segmenter() -> Segmenter:
    return Segmenter(SegmentConfig(), "cpu", bundle=LeftHalf())


def written(
    folder: Path,
    report: Mapping[str, Any],
    records: Sequence[CaseRecord],
    data: DataSet,
    looker: Segmenter | None = None,
) -> Page:
    assert all(
        isinstance(event, StageEvent) for event in write_html(folder, report, records, data, looker)
    )
    return Page(folder / FILE_NAME)


@pytest.fixture
def page(pairs: DataSet, tmp_path: Path) -> Page:
    """The page of the fake method."""
    looker = segmenter()
    config: dict[str, Any] = {"bundle": "compact", "sam": "mobile", "versions": {"libtest": "1.2"}}
    config["weights"] = {"yamnet.tflite": "c0ffee", "mine.bin": "dada"}
    config["weights_not_official"] = ["mine.bin"]
    config["device"] = {"device": "cpu", "reason": "asked"}
    report, records = scored(pairs, looker.predict, config)
    return written(tmp_path / "out", report, records, pairs, looker)


def test_it_is_one_whole_page_with_nothing_from_elsewhere(page: Page) -> None:
    assert page.source.startswith("<!DOCTYPE html>")
    assert page.of("html") == [{"lang": "en"}]
    assert not {"script", "link", "iframe", "object", "base"} & {name for name, _ in page.tags}
    assert "http" not in re.sub(r"http-equiv|http://www.w3.org/2000/svg", "", page.source)
    assert "@import" not in page.source
    assert not re.search(r"url\((?!#)", page.source)
    for _, attributes in page.tags:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/jpeg;base64,"))
    (policy,) = (item for item in page.of("meta") if "http-equiv" in item)
    assert "default-src 'none'" in policy["content"]


def test_it_can_be_read_without_seeing_it(page: Page) -> None:
    levels = [int(name[1]) for name, _ in page.tags if re.fullmatch(r"h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(item["alt"] for item in page.of("img"))
    assert all(
        item.get("aria-label") or item.get("aria-hidden") == "true" for item in page.of("svg")
    )
    assert all(item["scope"] in ("row", "col") for item in page.of("th"))
    assert len(page.of("table")) == len(page.of("caption"))
    assert {item["aria-label"] for item in page.of("div") if "tabindex" in item}


def test_the_contents_lead_to_every_chapter(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [item["href"] for item in page.of("a")]
    assert len(links) == 6
    assert {link[1:] for link in links} <= set(ids)
    headings = page.text("h2")
    for name in ("Results", "Plots", "cases", "Protocol", "Timings", "weights"):
        assert name in headings


def test_it_says_what_was_measured_and_how(page: Page) -> None:
    words = " ".join(page.text().split())
    assert "Evaluation of compact on pairs" in page.text("h1")
    for part in (
        "β² = 0.3",
        "255 thresholds",
        "at the size of the true mask",
        "An empty truth means",
        "95 % bootstrap intervals",
        "2000 times (seed 0)",
        "pictures are drawn with replacement",
        "Files of the networks",
        "yamnet.tflite",
        "c0ffee",
        "mine.bin (not the official file)",
        "asked",
        "libtest 1.2",
    ):
        assert part in words, part


def test_the_numbers_are_those_of_the_json(page: Page) -> None:
    cells = page.text("tbody")
    # Left halves everywhere: right in s1 and one_a, wrong in s2 and one_b, and wrong in off.
    assert "0.500" in cells
    assert "Which sound the masks follow" in page.text("h3")
    assert "Telling that nothing visible sounds" in page.text("h3")
    assert "of 4 pictures" in page.text("small")


def test_the_cases_are_shown_with_their_maps(page: Page) -> None:
    assert len(page.of("img")) == 5 * 5  # five cases, five pictures each
    assert page.text("h4").split() == ["Best", "Worst"] * 2 + ["Best"]
    facts = page.text("p")
    for part in ("s1", "off", "IoU", "Bell", "nearest", "right", "agreement"):
        assert part in facts
    assert "Looked at again" not in facts
    data = base64.b64decode(page.of("img")[0]["src"].partition(",")[2])
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (*SIZE, 3)


def test_a_case_that_comes_out_otherwise_says_so(pairs: DataSet, tmp_path: Path) -> None:
    report, records = scored(pairs, lambda rgb, wave: Prediction(NONE, NONE.astype(np.float32)))
    page = written(tmp_path / "out", report, records, pairs, segmenter())
    assert "Looked at again for this page, its IoU is 1.000" in page.text("p")


def test_a_baseline_shows_pictures_and_truths(pairs: DataSet, tmp_path: Path) -> None:
    predict = predict_with(BASELINES["centre"].make(None))
    report, records = scored(pairs, predict, {"baseline": "centre"})
    page = written(tmp_path / "out", report, records, pairs)
    assert "Evaluation of baseline centre on pairs" in page.text("h1")
    # A box scores alike in both cases of a subset: the second is neither best nor worst.
    assert len(page.of("img")) == 3 * 2
    assert "Only the method itself is looked at again" in page.text("p")
    assert "evidence and region" not in page.text("li")
    assert "names no files of networks" in page.text("p")


def test_words_from_outside_stay_words(pairs: DataSet, tmp_path: Path) -> None:
    from dataclasses import replace

    cases = tuple(
        replace(case, id=NASTY + case.id, category=NASTY, subset=NASTY) for case in pairs.cases
    )
    nasty = DataSet(cases, NASTY, 3, {NASTY: NASTY})
    report, records = scored(nasty, segmenter().predict, {"dataset": NASTY, "bundle": "compact"})
    report["config"] |= {"sam": "mobile", "split": NASTY, "odd\udcff": "\udcff"}
    report["failed"] = [NASTY]
    page = written(tmp_path / "out", report, records, nasty, segmenter())
    assert page.of("script") == []
    assert "alert('x')" in page.text("code")
    assert len(page.of("style")) == 1
    assert "\x07" not in page.source
    assert "\\udcff" in page.text("td")


def test_one_case_has_no_interval_and_is_shown_once(pairs: DataSet, tmp_path: Path) -> None:
    one = DataSet(pairs.cases[:1])
    report, records = scored(one, segmenter().predict)
    page = written(tmp_path / "out", report, records, one, segmenter())
    assert len(page.of("img")) == 5
    assert page.text("h4").split() == ["Best"]
    assert page.text("figcaption").startswith("single: 1 case Mean")
    assert "±" not in page.text("td")
    assert "0.000 to" not in page.text("td")


def test_predictions_that_are_all_empty(pairs: DataSet, tmp_path: Path) -> None:
    report, records = scored(pairs, lambda rgb, wave: Prediction(NONE, NONE.astype(np.float32)))
    page = written(tmp_path / "out", report, records, pairs)
    assert (report["share_empty"], report["m_j"]) == (1.0, 0.2)
    assert "1.000" in page.text("td")
    assert "none" in page.text("text")


def test_truths_that_are_all_empty_have_no_f_score(pairs: DataSet, tmp_path: Path) -> None:
    off = DataSet(pairs.cases[-1:])
    report, records = scored(off, segmenter().predict)
    page = written(tmp_path / "out", report, records, off, segmenter())
    assert "F-score over threshold" not in page.text("h3")
    assert "Telling that nothing visible sounds" not in page.text("h3")
    assert "IoU of the background" in page.text("text")
    assert "-" in [word.strip() for word in page.words["td"]]


def test_subsets_without_cases_and_categories_that_are_not_named(
    pairs: DataSet, tmp_path: Path
) -> None:
    report, records = scored(pairs, segmenter().predict)
    report["per_subset"]["of another run"] = report["per_subset"]["single"]
    report["per_category"] = {}
    page = written(tmp_path / "out", report, records, pairs)
    assert "of another run" not in page.text()
    assert "By category" not in page.text("h3")


def test_s4_draws_clips_and_scores_at_224(tmp_path: Path) -> None:
    clips = {
        ("dog_1", "dog", "test"): [LEFT] * 5,
        ("cat_2", "cat", "test"): [LEFT] * 3 + [EMPTY, ALL],
    }
    root = s4_tree(tmp_path, clips)
    for path in root.rglob("*.wav"):
        write_wav(path, (np.sin(np.arange(80000) * 0.2) * 20000).astype(np.int16))
    data = LAYOUTS["s4"](root, None, None)
    report, records = scored(data, segmenter().predict, {"layout": "s4", "split": "test"})
    page = written(tmp_path / "out", report, records, data, segmenter())
    words = page.text()
    assert "at 224 x 224 pixels" in words
    assert "clips are drawn with replacement" in words
    assert "of 2 clips" in page.text("small")
    # The best frame of each clip; of the dog's, which are all right, none is among the worst.
    assert len(page.of("img")) == 3 * 5


def test_classes_have_tables_and_bars(tmp_path: Path) -> None:
    """Left halves are predicted, without a class: each true one has an IoU of 0."""
    dog, car = semantic(dog=LEFT), semantic(car=LEFT)
    clips = {
        ("a_0", "dog", "test", "v1s"): [dog] * 5,
        ("b_0", "car", "test", "v1m"): [car] * 4 + [semantic(car=EMPTY)],
    }
    root = avss_tree(tmp_path, clips)
    for path in root.rglob("*.wav"):
        write_wav(path, (np.sin(np.arange(80000) * 0.2) * 20000).astype(np.int16))
    data = LAYOUTS["avss"](root, None, None)
    report, records = scored(data, segmenter().predict, {"layout": "avss"})
    page = written(tmp_path / "out", report, records, data, segmenter())
    assert "By class" in page.text("h3")
    words = " ".join(page.text("table").split())
    numbers = report["classes"]
    for row in (
        f"all classes {numbers['classes']} {numbers['miou']:.3f}",
        f"without the background {numbers['classes'] - 1} {numbers['miou_no_background']:.3f}",
        "dog 5 5 ",
        "car 4 4 ",
    ):
        assert row in words, row
    assert "IoU by class, with 95" in page.text("figcaption")


def test_a_page_of_the_same_results_is_left_as_it_is(pairs: DataSet, tmp_path: Path) -> None:
    bundle = LeftHalf()
    looker = Segmenter(SegmentConfig(), "cpu", bundle=bundle)
    report, records = scored(pairs, looker.predict)
    first = written(tmp_path / "out", report, records, pairs, looker).source
    looks = bundle.looks
    assert list(write_html(tmp_path / "out", report, records, pairs, looker)) == []
    assert (bundle.looks, (tmp_path / "out" / FILE_NAME).read_text()) == (looks, first)
    other = report | {"config": report["config"] | {"limit": 3}}
    assert written(tmp_path / "out", other, records, pairs, looker).source != first
    assert bundle.looks > looks
    # Without the method there are no maps: that is another page.
    assert list(write_html(tmp_path / "out", other, records, pairs, None)) != []


def test_pictures_that_are_gone_are_told(pairs: DataSet, tmp_path: Path) -> None:
    looker = segmenter()
    report, records = scored(pairs, looker.predict)
    pairs.cases[0].image_path.unlink()
    page = written(tmp_path / "out", report, records, pairs, looker)
    assert "Its pictures can't be shown: " in page.text("p")
    assert "no such file" in page.text("p")
    assert len(page.of("img")) == 4 * 5


def test_what_is_missing_stands_on_top(pairs: DataSet, tmp_path: Path) -> None:
    report, records = scored(pairs, segmenter().predict)
    report["failed"] = [f"case {number}" for number in range(30)]
    page = written(tmp_path / "out", report, records, pairs)
    assert "30 of 5 cases could not be read and are left out: case 0, " in page.text("p")
    assert "case 19 and 10 more." in page.text("p")


def test_the_size_is_bounded_whatever_the_pictures_are(
    pairs: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html_report, "PICTURES_BYTES", 40_000)
    looker = segmenter()
    report, records = scored(pairs, looker.predict)
    page = written(tmp_path / "out", report, records, pairs, looker)
    sizes = [len(base64.b64decode(item["src"].partition(",")[2])) for item in page.of("img")]
    assert len(sizes) == 25
    assert sum(sizes) <= 40_000


def test_noise_is_squeezed_until_it_fits() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 360, 3), dtype=np.uint8)
    assert len(report_cases._jpeg(noise, 10_000)) <= 10_000
    good = cv2.imdecode(np.frombuffer(report_cases._jpeg(noise, 10**6), np.uint8), 1)
    assert good.shape == noise.shape


def test_a_folder_that_cannot_be_written_keeps_the_old_page(
    pairs: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, records = scored(pairs, segmenter().predict)
    written(tmp_path / "out", report, records, pairs)
    before = (tmp_path / "out" / FILE_NAME).read_bytes()

    def full(path: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageError, match="No space left"):
        written(tmp_path / "out", report | {"failed": ["one"]}, records, pairs)
    assert (tmp_path / "out" / FILE_NAME).read_bytes() == before
    assert len(list((tmp_path / "out").iterdir())) == 1


def record(name: str, j: float, group: str = "", **values: Any) -> CaseRecord:
    given: dict[str, Any] = {
        "subset": "single",
        "category": "bell",
        "group": group or name,
        "clip": name,
        "intersection": round(100 * j),
        "union": 100,
        "f_binary": j,
        "f_curve": tuple(np.linspace(j, 0, 255).tolist()),
        "empty": False,
        "nearest": "",
        "reason": "",
        "score": j,
        "seconds": 0.1,
    }
    return CaseRecord(id=name, j=j, **(given | values))


def many(count: int = 40) -> list[CaseRecord]:
    rng = np.random.default_rng(3)
    return [
        record(f"c{n}", float(rng.random()), f"g{n // 2}", nearest="right" if n % 3 else "both")
        for n in range(count)
    ]


def test_intervals_lie_around_the_numbers_of_the_json() -> None:
    records = many()
    numbers, found = summary(records), intervals(records)
    for key in ("m_j", "iou_dataset", "f_binary", "f_max_clip", "f_max_dataset"):
        assert found[key].low < numbers[key] < found[key].high, key
        # About two standard errors on each side, where there is one.
        error = numbers.get(f"{key}_se")
        if error:
            assert found[key].high - found[key].low == pytest.approx(4 * error, rel=0.2), key
    assert found["share_empty"].low == found["share_empty"].high == 0
    assert found["share_right"].low < 26 / 40 < found["share_right"].high


def test_alike_groups_leave_no_width_and_give_the_numbers_of_the_json() -> None:
    """Each group has the same two cases of one clip: every resample is the whole."""
    records = []
    for n in range(5):
        for at, j in enumerate((0.2, 0.9)):
            curve = tuple(np.roll(np.linspace(j, 0, 255), 100 * at).tolist())
            records.append(record(f"c{n}.{at}", j, f"g{n}", clip=f"g{n}", f_curve=curve))
    numbers, found = summary(records), intervals(records)
    for key in ("m_j", "iou_dataset", "f_binary", "f_max_clip", "f_max_dataset"):
        assert found[key].low == pytest.approx(numbers[key], abs=1e-12), key
        assert found[key].high == pytest.approx(numbers[key], abs=1e-12), key


def test_the_score_is_judged_by_whether_the_truth_is_empty() -> None:
    off = {"f_curve": None, "f_binary": None}
    records = [
        record("a", 1.0, score=0.9),
        record("b", 1.0, score=0.5, empty=True),
        record("c", 1.0, score=0.7, **off),
        record("d", 1.0, score=0.1, empty=True, **off),
    ]
    found, interval = roc_of(records)
    assert found.false == (0, 0, 0.5, 0.5, 1)
    assert found.true == (0, 0.5, 0.5, 1, 1)
    assert found.point == (0.5, 0.5)
    assert interval.low <= found.area == 0.75 <= interval.high
    assert roc_of(records[:2]) is None


def test_best_and_worst_are_of_different_pictures() -> None:
    records = [
        record(f"{group}{n}", j, group)
        for group, js in (("a", (0.9, 0.8)), ("b", (0.7, 0.1)), ("c", (0.3, 0.2)))
        for n, j in enumerate(js)
    ]
    best, worst = best_and_worst(records, 2)
    assert [item.id for item in best] == ["a0", "b0"]
    assert [item.id for item in worst] == ["b1", "c1"]
    assert best_and_worst(records[:1], 2) == ([records[0]], [])
    assert best_and_worst(records[3:5], 3) == ([records[4]], [records[3]])
    alike = [record(str(n), 1.0) for n in range(9)]
    assert best_and_worst(alike, 2) == (alike[:2], [])


def rects(drawing: str) -> Iterator[dict[str, float]]:
    for found in re.finditer(r'<rect class="bar" ([^>]*)>', drawing):
        yield {key: float(value) for key, value in re.findall(r'(\w+)="([\d.]+)"', found[1])}


def test_bars_are_to_scale_and_name_their_numbers() -> None:
    rows = [Bar("a" * 40, 0.25, None), Bar("<b>", 0.75, None, "of 3 cases")]
    drawing = bars("Title", rows, "x")
    first, second = rects(drawing)
    assert second["width"] == pytest.approx(3 * first["width"])
    assert f"<title>{'a' * 40}</title>" in drawing
    assert "0.750  of 3 cases" in drawing
    assert "&lt;b&gt;" in drawing


def test_a_histogram_counts_its_values() -> None:
    values = [0.0, 0.02, 0.5, 1.0, 1.0, 1.0, 1.0]
    heights = [item["height"] for item in rects(histogram("h", values, "x"))]
    assert heights == pytest.approx([heights[0], heights[0] / 2, heights[0] * 2])


def test_markup_escapes_all_but_markup() -> None:
    assert tag("p", "<&>", class_='"') == '<p class="&quot;">&lt;&amp;&gt;</p>'
    assert tag("p", Markup("<b>x</b>"), ["a", "b"]) == "<p><b>x</b>ab</p>"
    assert (
        tag("img", alt="", width=1.5, height=2.0, src=None) == '<img alt="" width="1.5" height="2">'
    )
    assert joined("<", tag("br")) == "&lt;<br>"
    assert text("a\x00b\n") == "a\ufffdb\n"
