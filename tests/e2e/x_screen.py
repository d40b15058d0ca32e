"""A screen without a monitor (Xvfb), and a person at its keyboard and mouse.

Keys and clicks go through the X server's XTEST extension, as those of a real keyboard do: they
reach whatever has the focus, in the order in which they were pressed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from Xlib import XK, X, display
from Xlib.ext import xtest

PATIENCE_S = 300  # the machine may be busy; a test that works never waits this long
HERE = Path(__file__).resolve().parent
BETWEEN_KEYS_S = 0.03
_MODIFIERS = {"Ctrl": "Control_L", "Shift": "Shift_L", "Alt": "Alt_L"}
_KEYS = {
    "Left": "Left", "Right": "Right", "Home": "Home", "End": "End", "Del": "Delete",
    "Enter": "Return", "Esc": "Escape", "Space": "space", "Tab": "Tab", "Down": "Down",
    "[": "bracketleft", "]": "bracketright", "/": "slash", ",": "comma", ".": "period",
    "PgUp": "Prior", "PgDown": "Next", "Backspace": "BackSpace", "F2": "F2",
}  # fmt: skip

State = dict[str, Any]


class XServer:
    """An Xvfb of its own."""

    def __init__(self, size: str = "1600x1000x24") -> None:
        read, write = os.pipe()
        command = ["Xvfb", "-displayfd", str(write), "-screen", "0", size, "-nolisten", "tcp"]
        self._process = subprocess.Popen(command, pass_fds=(write,), stderr=subprocess.DEVNULL)
        os.close(write)
        with os.fdopen(read) as stream:
            self.name = f":{stream.readline().strip()}"

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(20)


class Person:
    """Starts the program on a screen, presses keys, moves the mouse, and looks.

    Parameters
    ----------
    environment : of the program; `DISPLAY` is added.
    folder : where the program writes what it shows, and its messages.
    """

    def __init__(self, server: XServer, environment: dict[str, str], folder: Path) -> None:
        self._environment = {**environment, "DISPLAY": server.name, "QT_QPA_PLATFORM": "xcb"}
        self._display = display.Display(server.name)
        self._folder = folder
        self._state = folder / "screen.json"
        self.messages = folder / "messages.txt"
        self.program: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> None:
        """Start the program and wait for its window."""
        self._state.unlink(missing_ok=True)
        script = str(HERE / "watched_gui.py")
        with self.messages.open("ab") as stream:
            self.program = subprocess.Popen(
                [sys.executable, script, str(self._state), *arguments],
                env=self._environment,
                stdout=stream,
                stderr=stream,
            )
        self.wait(lambda s: True)

    # -- looking ------------------------------------------------------------------------------

    def look(self) -> State:
        """What the screen shows now, or {} before there is a window."""
        try:
            return dict(json.loads(self._state.read_text()))
        except FileNotFoundError:
            return {}

    def wait(self, until: Callable[[State], Any], patience_s: float = PATIENCE_S) -> State:
        """Wait for the screen to show something; fails with what it shows instead."""
        deadline = time.monotonic() + patience_s
        while True:
            state = self.look()
            if state and until(state):
                return state
            assert self.program is not None
            if self.program.poll() is not None:
                raise AssertionError(f"the program ended: {self.messages.read_text()}")
            if time.monotonic() > deadline:
                state.pop("controls", None)
                raise AssertionError(f"waited in vain; the screen shows {state}")
            time.sleep(0.05)

    def wait_for(self, find: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
        """Wait for something off the screen, such as a file; returns it."""
        found: list[Any] = []

        def there(_: State) -> bool:
            found[:] = [find()]
            return bool(found[0])

        self.wait(there, patience_s)
        return found[0]

    # -- keyboard and mouse -------------------------------------------------------------------

    def press(self, *keys: str) -> None:
        """Press keys one after the other, such as `Ctrl+Z`, `R`, `[`."""
        for key in keys:
            *held, last = key.split("+")
            self._key_down([*(_MODIFIERS[name] for name in held), _KEYS.get(last, last.lower())])

    def type(self, text: str) -> None:
        """Type letters and figures."""
        for letter in text:
            name = {" ": "space", ".": "period", "_": "underscore", "-": "minus", "/": "slash"}
            held = ["Shift_L"] if letter.isupper() or letter == "_" else []
            self._key_down([*held, name.get(letter, letter.lower())])

    def _focus(self) -> None:
        """Give the keyboard to the window on top, as a window manager does."""
        for window in reversed(self._display.screen().root.query_tree().children):
            facts = window.get_attributes()
            if facts.map_state == X.IsViewable and not facts.override_redirect:
                if self._display.get_input_focus().focus != window:
                    window.set_input_focus(X.RevertToParent, X.CurrentTime)
                    self._display.sync()
                    time.sleep(BETWEEN_KEYS_S)
                return

    def _key_down(self, names: list[str]) -> None:
        self._focus()
        codes = [self._display.keysym_to_keycode(XK.string_to_keysym(name)) for name in names]
        for code in codes:
            xtest.fake_input(self._display, X.KeyPress, code)
        for code in reversed(codes):
            xtest.fake_input(self._display, X.KeyRelease, code)
        self._display.sync()
        time.sleep(BETWEEN_KEYS_S)

    def move(self, x: float, y: float) -> None:
        """Move the mouse to a pixel of the screen."""
        xtest.fake_input(self._display, X.MotionNotify, x=round(x), y=round(y))
        self._display.sync()
        time.sleep(BETWEEN_KEYS_S)

    def click(self, x: float, y: float, button: int = 1, times: int = 1) -> None:
        """Click at a pixel of the screen; button 1 is the left one, 3 the right one."""
        self.move(x, y)
        for _ in range(times):
            xtest.fake_input(self._display, X.ButtonPress, button)
            xtest.fake_input(self._display, X.ButtonRelease, button)
            self._display.sync()
        time.sleep(BETWEEN_KEYS_S)

    def drag(self, *places: tuple[float, float]) -> None:
        """Drag with the left button from place to place."""
        self.move(*places[0])
        xtest.fake_input(self._display, X.ButtonPress, 1)
        for place in places[1:]:
            self.move(*place)
        xtest.fake_input(self._display, X.ButtonRelease, 1)
        self._display.sync()
        time.sleep(BETWEEN_KEYS_S)

    def click_on(self, name: str) -> None:
        """Click on the middle of the control called `name`, once it can be used."""
        left, top, width, height = self.wait(lambda s: name in s["controls"])["controls"][name]
        self.click(left + width / 2, top + height / 2)

    def on_frame(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the frame lies on the screen."""
        state = self.look()
        left, top = state["frame_corner"]
        return left + (x + 0.5) * state["scale"], top + (y + 0.5) * state["scale"]

    # -- the end ------------------------------------------------------------------------------

    def ended(self) -> int:
        """The program's exit code, once it has ended by itself."""
        assert self.program is not None
        return self.program.wait(PATIENCE_S)

    def kill(self) -> None:
        """End the program at once, as a power cut would."""
        if self.program is not None and self.program.poll() is None:
            self.program.kill()
            self.program.wait(20)

    def leave(self) -> None:
        """Let go of everything."""
        self.kill()
        self._display.close()
