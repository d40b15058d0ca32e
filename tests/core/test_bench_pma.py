"""`moca bench pma`: the unfolded versions are PMA too, and what is counted as memory."""

from __future__ import annotations

import json

import pytest
import torch

from moca_core import cli
from moca_core.bench import pma as bench
from moca_core.bench.memory import peak_bytes
from moca_core.pipeline import pma


@pytest.mark.parametrize("grid", [(4, 5), (1, 3)], ids=str)
@pytest.mark.parametrize("name", bench.UNFOLDED)
def test_unfolded_windows_give_the_same_distance(name: str, grid: tuple[int, int]) -> None:
    a, b = bench.Size(3, grid, 12).features("cpu")
    found = bench.UNFOLDED[name](a, b, grid)
    torch.testing.assert_close(found, pma.distance(a, b, grid), atol=1e-6, rtol=0)


def test_a_location_at_a_time_gives_the_same_costs() -> None:
    a, b = bench.Size(2, (4, 5), 12).features("cpu")
    found = bench.literal_costs(a, b, (4, 5))
    expected = pma.costs(a, b, (4, 5))[:, : found.shape[1]]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_peak_counts_what_lives_at_the_same_time() -> None:
    """By hand: 4000 bytes a tensor of 1000; views and what was there before cost nothing."""
    there = torch.ones(1000)

    def in_turn() -> None:
        for _ in range(5):
            made = there + 1
            made.view(10, 100).transpose(0, 1)
            made.mul_(2)
            del made

    assert peak_bytes(in_turn) == 4000
    assert peak_bytes(lambda: [there + turn for turn in range(5)]) == 20_000
    weight = torch.ones(1000, requires_grad=True)
    # The square, its sum, and in the end the gradient with what it is made of.
    assert 8000 <= peak_bytes(lambda: (weight**2).sum().backward()) <= 16_100


def test_rows_times_differences_memory(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    """The numbers agree, and the memory doesn't grow; how fast it is depends on the machine."""
    file = tmp_path / "pma.json"
    words = ["bench", "pma", "--tiny", "--repeats", "1", "--device", "cpu", "--json", str(file)]
    assert cli.main(words) == cli.DONE
    rows = {row["name"]: row for row in json.loads(file.read_text())["rows"]}
    differences = [row for name, row in rows.items() if name.startswith("largest difference")]
    assert len(differences) == 3 and all(row["met"] for row in differences)
    assert rows["memory that grows with Dv, beyond the gradients"]["value"] == 0
    ratios = [row for name, row in rows.items() if name.endswith(" / PMA")]
    assert len(ratios) == 3 and all(row["value"] > 0 for row in ratios)
    assert [row["at_least"] for row in ratios] == [bench.SPEED_UP, None, None]
    assert "unfolded, products / PMA" in capsys.readouterr().out
