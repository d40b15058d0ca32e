"""Line plots as SVG: well-formed, to scale, and readable without colour."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from moca_core.export.svg import Series, line_plot, name_axis, number_axis

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*series: Series, names: tuple[str, ...] = ("2", "4", "6")) -> ElementTree.Element:
    return ElementTree.fromstring(
        line_plot("A & <B>", series, name_axis("n", names), number_axis("mean IoU", [0.0, 1.0]))
    )


def words(root: ElementTree.Element) -> list[str]:
    return [item.text or "" for item in root.iter(f"{SVG}text")]


def test_what_is_written_is_xml_with_all_words() -> None:
    root = drawn(Series("one & 'two'", (0, 1, 2), (0.1, 0.2, 0.3)))
    assert root.tag == f"{SVG}svg"
    assert root.get("aria-label") == "A & <B>"
    for word in ("A & <B>", "one & 'two'", "n", "mean IoU", "2", "4", "6", "0.0", "1.0"):
        assert word in words(root)


def test_points_lie_where_the_axes_say() -> None:
    root = drawn(Series("a", (0, 1, 2), (0.0, 0.5, 1.0)))
    (line,) = root.iter(f"{SVG}polyline")
    points = [[float(n) for n in point.split(",")] for point in line.attrib["points"].split()]
    across, up = zip(*points, strict=True)
    assert across[1] - across[0] == pytest.approx(across[2] - across[1], abs=0.15)
    assert up[0] - up[1] == pytest.approx(up[1] - up[2], abs=0.15)
    labels = {item.text: item for item in root.iter(f"{SVG}text")}
    # Four pixels below the line that it labels.
    assert float(labels["0.0"].attrib["y"]) - 4 == pytest.approx(up[0], abs=0.15)
    assert float(labels["1.0"].attrib["y"]) - 4 == pytest.approx(up[2], abs=0.15)


def test_error_bars_are_as_long_as_the_spread() -> None:
    def uprights(root: ElementTree.Element) -> list[float]:
        lines = [item.attrib for item in root.iter(f"{SVG}line")]
        coloured = [item for item in lines if item["stroke"] == "#0072B2"]
        return [abs(float(i["y1"]) - float(i["y2"])) for i in coloured if i["x1"] == i["x2"]]

    bare = Series("a", (0, 1), (0.5, 0.5))
    assert uprights(drawn(bare)) == []
    short, long = uprights(drawn(Series("a", (0, 1), (0.5, 0.5), (0.1, 0.2))))
    assert long == pytest.approx(2 * short, abs=0.2)
    assert len(uprights(drawn(Series("a", (0, 1), (0.5, 0.5), (None, 0.2))))) == 1


def test_a_gap_parts_the_line() -> None:
    root = drawn(Series("a", (0, 1, 2, 3, 4), (0.1, 0.2, None, 0.2, 0.1)))
    assert len(list(root.iter(f"{SVG}polyline"))) == 2


def test_series_differ_without_colour() -> None:
    root = drawn(*(Series(name, (0, 1), (0.2, 0.4)) for name in "abcde"))
    dashes = [item.attrib["stroke-dasharray"] for item in root.iter(f"{SVG}polyline")]
    assert len(set(dashes)) == 5
    bare = drawn(Series("a", (0, 1), (0.2, 0.4), markers=False))
    assert not list(bare.iter(f"{SVG}circle"))


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0.0, 1.0], ["0.0", "0.5", "1.0"]),
        ([0.71, 0.74], ["0.71", "0.72", "0.73", "0.74"]),
        ([3.0], ["2.5", "3.0", "3.5"]),
        ([0, 900], ["0", "500", "1000"]),
        ([-0.3, 0.3], ["-0.4", "-0.2", "0.0", "0.2", "0.4"]),
    ],
)
def test_ticks_are_round_and_hold_the_values(values: list[float], labels: list[str]) -> None:
    axis = number_axis("", values)
    assert axis.low <= min(values)
    assert axis.high >= max(values)
    assert [label for _, label in axis.ticks] == labels


def test_an_axis_may_start_at_zero() -> None:
    axis = number_axis("", [0.71, 0.74], low=0.0)
    assert (axis.low, axis.ticks[0]) == (0.0, (0.0, "0.0"))


def test_nothing_to_draw_is_a_plot_too() -> None:
    assert "n" in words(drawn())
    assert number_axis("", []).high > number_axis("", []).low
