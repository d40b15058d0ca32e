"""Make the README's pictures of the window from the program itself, on its own demo clip.

    python tools/screenshots.py [FOLDER]

Needs the weights of the compact bundle; runs offscreen. The results come from the real method and
are kept in the cache, so a second call is quick.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PIL import Image
from PySide6.QtCore import QEventLoop
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QApplication

from moca_core.paths import resource
from moca_gui.main_window import MainWindow
from moca_gui.theme import THEMES

REPOSITORY = Path(__file__).resolve().parent.parent
SIZE = (1080, 720)  # large enough to read, small enough for 400 kB in full colour
PATIENCE_S = 3600.0


@dataclass(frozen=True)
class Picture:
    """One file: what is on screen.

    Attributes
    ----------
    name : of the file.
    theme : dark or light.
    second : of the clip.
    overlay : what lies over the frame.
    run_frame : run on the frame first, which keeps its maps.
    """

    name: str
    theme: str
    second: float
    overlay: str = "masks"
    run_frame: bool = False


PICTURES = (
    Picture("window.png", "dark", 1.2),
    Picture("window-light.png", "light", 5.0),
    Picture("inspector.png", "dark", 5.0, "evidence", run_frame=True),
)


def main() -> int:
    """Write the pictures; returns 0."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "docs" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        # Settings of its own: the pictures show the window as it comes.
        os.environ["XDG_CONFIG_HOME"] = home
        _make_all(folder)
    return 0


def _make_all(folder: Path) -> None:
    app = QApplication(sys.argv[:1])

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError("the window didn't get there")
            app.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents, 50)

    window = MainWindow()
    window.resize(*SIZE)
    window.show()
    window.open_path(resource("demo/demo.mp4"))
    wait(lambda: window.session.image is not None)
    window.runner.failed.connect(lambda error, title: sys.stderr.write(f"{title}: {error}\n"))
    window.runner.run_clip()
    wait(lambda: window.runner.job is None)
    for picture in PICTURES:
        window.apply_theme(THEMES[picture.theme])
        window.player.seek_time(picture.second)
        wait(lambda: window.session.frame == window.player.target)
        if picture.run_frame:
            window.runner.run_frame()
            wait(lambda: window.runner.job is None)
        window.inspector.choose(picture.overlay)
        wait(lambda: not {"waveform", "spectrogram"} & set(window.pool.titles))
        window.status.show_note("")
        app.processEvents()
        path = folder / picture.name
        save_small(window.grab().toImage(), path)
        sys.stdout.write(f"{path}: {path.stat().st_size // 1000} kB\n")
    _match(window, wait, folder / "match.png")
    window.close()


def _match(window: MainWindow, wait: Callable[[Callable[[], bool]], None], path: Path) -> None:
    """The comparing window, with a place chosen and the neighbours of the frame."""
    window.apply_theme(THEMES["dark"])
    window.player.seek_time(1.2)
    wait(lambda: window.session.frame == window.player.target)
    window.actions_by_name["match"].trigger()
    dialog = window.matching.dialog
    assert dialog is not None
    dialog.resize(1160, 740)
    wait(lambda: dialog.compared is not None)
    dialog.find_neighbours()
    wait(lambda: dialog.strip.list.count() > 0 and dialog.strip.search.isVisible())
    dialog.choose(0, (6, 2))
    wait(lambda: dialog.compared is not None)
    QApplication.processEvents()
    save_small(dialog.grab().toImage(), path)
    sys.stdout.write(f"{path}: {path.stat().st_size // 1000} kB\n")


def save_small(image: QImage, path: Path) -> None:
    """Write `image` as the smallest PNG that Pillow makes of it."""
    image = image.convertToFormat(QImage.Format.Format_RGBA8888)
    size = image.width(), image.height()
    picture = Image.frombuffer("RGBA", size, bytes(image.constBits()), "raw", "RGBA", 0, 1)
    picture.convert("RGB").save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
