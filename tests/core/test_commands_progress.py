"""Progress as a redrawn line on a terminal, and as plain lines elsewhere."""

from __future__ import annotations

import io
import os

import pytest

from moca_core.commands import progress
from moca_core.commands.progress import BYTES, ProgressPrinter


class Clock:
    """Seconds that go on when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal; `screen` is what one would show."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    @property
    def screen(self) -> list[str]:
        lines = [""]
        column = 0
        for letter in self.getvalue():
            if letter == "\n":
                lines.append("")
                column = 0
            elif letter == "\r":
                column = 0
            else:
                lines[-1] = lines[-1][:column].ljust(column) + letter + lines[-1][column + 1 :]
                column += 1
        return [line.rstrip() for line in lines]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "_columns", lambda stream: 80)
    return Terminal()


def run(printer, clock, count, step_s, title="clip.mp4", unit="frames"):
    for done in range(1, count + 1):
        clock.now += step_s
        printer.update(title, done, count, unit)


def test_a_terminal_shows_one_line_with_bar_rate_and_time_left(terminal, clock):
    printer = ProgressPrinter(False, terminal, clock)
    printer.update("clip.mp4", 0, 100, "frames")
    for done in range(1, 51):
        clock.now += 0.5
        printer.update("clip.mp4", done, 100, "frames")
    (line,) = terminal.screen
    assert line == "clip.mp4  [############------------]  50/100 frames, 2.0/s, 0:25 left"


def test_finish_leaves_a_clean_line(terminal, clock):
    printer = ProgressPrinter(False, terminal, clock)
    run(printer, clock, 20, 1.0)
    printer.finish()
    assert terminal.screen == [""]
    assert terminal.getvalue().endswith("\r")


def test_a_terminal_is_not_redrawn_at_every_call(terminal, clock):
    printer = ProgressPrinter(False, terminal, clock)
    run(printer, clock, 1000, 0.001)
    assert terminal.getvalue().count("\r") < 20
    assert "1000/1000" in terminal.screen[-1]


def test_a_note_keeps_its_line_above_the_bar(terminal, clock):
    printer = ProgressPrinter(False, terminal, clock)
    printer.update("clip.mp4", 3, 10, "frames")
    printer.note("clip.mp4: no audio track")
    assert terminal.screen[0] == "clip.mp4: no audio track"
    assert terminal.screen[1].startswith("clip.mp4  [#######")


@pytest.mark.parametrize("columns", [1, 10, 20, 30, 40, 60, 80, 200])
@pytest.mark.parametrize("title", ["clip.mp4", "a very long name of a clip " * 4, "犬の鳴き声" * 9])
def test_the_line_fits_any_width(terminal, clock, monkeypatch, columns, title):
    monkeypatch.setattr(progress, "_columns", lambda stream: columns)
    printer = ProgressPrinter(False, terminal, clock)
    printer.update(title, 0, 300, "frames")
    clock.now += 5
    printer.update(title, 37, 300, "frames")
    drawn = terminal.getvalue().split("\r")[-1].rstrip()
    assert progress._cells(drawn) < max(columns, 2)
    if columns >= 60:
        assert "37/300 frames, 7.4/s, 0:36 left" in drawn


def test_letters_that_move_the_cursor_are_not_printed(terminal, clock):
    printer = ProgressPrinter(False, terminal, clock)
    printer.update("evil\x1b[2J\nname", 1, 2, "frames")
    printer.note("evil\x1b[2J\nname")
    assert "\x1b" not in terminal.getvalue()
    assert len(terminal.screen) == 2


def test_the_width_of_a_real_terminal_is_used():
    main, side = os.openpty()
    try:
        with os.fdopen(side, "w") as stream:
            assert progress._columns(stream) == 80  # a new one has no size
    finally:
        os.close(main)


def test_elsewhere_there_are_few_plain_lines(clock):
    stream = io.StringIO()
    printer = ProgressPrinter(False, stream, clock)
    run(printer, clock, 3000, 0.02)  # a minute
    printer.finish()
    lines = stream.getvalue().splitlines()
    assert 8 <= len(lines) <= 14
    assert lines[-1] == "clip.mp4: 3000/3000 frames"
    assert "\r" not in stream.getvalue()


def test_a_slow_job_gives_a_sign_of_life_every_ten_seconds(clock):
    stream = io.StringIO()
    printer = ProgressPrinter(False, stream, clock)
    run(printer, clock, 100, 4.0)
    lines = stream.getvalue().splitlines()
    assert 25 <= len(lines) <= 55
    assert "4.0 s each" in lines[20]


def test_the_time_left_is_not_taken_from_stored_frames(clock):
    stream = io.StringIO()
    printer = ProgressPrinter(False, stream, clock)
    for done in range(500):  # stored: at once
        printer.update("clip.mp4", done, 1000, "frames")
    for done in range(500, 600):
        clock.now += 1.0
        printer.update("clip.mp4", done, 1000, "frames")
    # 400 frames of a second each are left.
    left = stream.getvalue().splitlines()[-1].rsplit(", ", 1)[1]
    assert left in {"6:40 left", "6:48 left", "6:50 left"}


def test_bursts_do_not_make_the_time_left_leap(clock):
    stream = io.StringIO()
    printer = ProgressPrinter(False, stream, clock)
    rates = []
    printer.update("clip.mp4", 0, 1000, "frames")
    for key in range(40):  # 25 frames at once, then 10 seconds of looking
        clock.now += 10.0
        printer.update(f"clip.mp4: Frame {key}", 25 * key, 1000, "")
        for done in range(25 * key, 25 * key + 25):
            clock.now += 0.01
            printer.update("clip.mp4", done, 1000, "frames")
        if key >= 8:
            rates.append(printer._pace.per_s)
    assert min(rates) > 1.5
    assert max(rates) < 3.5


def test_bytes_are_megabytes(clock):
    stream = io.StringIO()
    printer = ProgressPrinter(False, stream, clock)
    printer.update("vit.onnx", 0, 97_400_000, BYTES)
    clock.now += 10
    printer.update("vit.onnx", 50_000_000, 97_400_000, BYTES)
    assert stream.getvalue().splitlines()[-1] == ("vit.onnx: 50.0/97.4 MB, 5.0 MB/s, 0:09 left")


def test_a_stage_without_an_end_is_its_name(clock):
    stream = io.StringIO()
    ProgressPrinter(False, stream, clock).update("clip.mp4: Opening the clip", 0, 0, "")
    assert stream.getvalue() == "clip.mp4: Opening the clip\n"


def test_quiet_shows_notes_only(terminal, clock):
    printer = ProgressPrinter(True, terminal, clock)
    run(printer, clock, 50, 1.0)
    printer.note("something matters")
    printer.finish()
    assert terminal.getvalue() == "something matters\n"


def test_a_dumb_terminal_gets_plain_lines(terminal, clock, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    run(ProgressPrinter(False, terminal, clock), clock, 20, 1.0)
    assert "\r" not in terminal.getvalue()


def test_the_next_job_begins_with_a_line_of_its_own(clock):
    stream = io.StringIO()
    printer = ProgressPrinter(False, stream, clock)
    run(printer, clock, 10, 0.01, "one.mp4")
    printer.finish()
    run(printer, clock, 10, 0.01, "two.mp4")
    lines = stream.getvalue().splitlines()
    assert [line for line in lines if line.startswith("two.mp4: 1/10")]
