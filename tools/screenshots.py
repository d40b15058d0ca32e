"""Make the pictures of the documentation from the program itself, on its own demo clip.

    python tools/screenshots.py [FOLDER] [--scales 1 2] [--themes dark light] [--scenes NAME ...]

One picture a row of `tools/scenes.py`: NAME.png is dark, NAME-light.png light; those at twice the
size end in `@2x`. Needs the weights of the compact bundle; runs offscreen. The results come from
the real method and are kept in the cache, so a second call is quick.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tools")]

from moca_core.paths import cache_dir  # noqa: E402

PATIENCE_S = 3600.0  # for a run on a slow machine
COLOURS = 256  # of a picture: enough for photographs this small, at a third of the bytes


def main() -> int:
    """Write the pictures, each scale and theme by a process of its own; returns 0 if all did."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=REPOSITORY / "docs" / "images")
    parser.add_argument("--scales", nargs="+", type=int, default=[1])
    parser.add_argument("--themes", nargs="+", default=["dark", "light"])
    parser.add_argument("--scenes", nargs="+", default=[], help="all by default")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        return _make_all(options.folder, options.themes[0], options.scales[0], options.scenes)
    options.folder.mkdir(parents=True, exist_ok=True)
    codes = [
        _in_a_process(options.folder, theme, scale, options.scenes)
        for scale in options.scales
        for theme in options.themes
    ]
    return max(codes)


def _in_a_process(folder: Path, theme: str, scale: int, scenes: list[str]) -> int:
    # Settings of its own: the pictures show the program as it comes. Named, because it is seen.
    home = Path(tempfile.gettempdir()) / "you"
    clips = home / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    try:
        for name in ("demo.mp4", "kitchen.mp4", "street.mp4"):
            shutil.copyfile(REPOSITORY / "resources" / "demo" / "demo.mp4", clips / name)
        own = {
            "HOME": str(home),
            **{f"XDG_{name}_HOME": str(home / name.lower()) for name in ("CONFIG", "DATA")},
            "MOCA_CACHE_DIR": str(cache_dir()),
            "QT_SCALE_FACTOR": str(scale),
        }
        command = [
            *(sys.executable, __file__, str(folder), "--here", "--themes", theme),
            *("--scales", str(scale), *(["--scenes", *scenes] if scenes else [])),
        ]
        environment = {"QT_QPA_PLATFORM": "offscreen", **os.environ, **own}
        return subprocess.run(command, env=environment, check=False).returncode
    finally:
        shutil.rmtree(home)


def _make_all(folder: Path, theme: str, scale: int, names: list[str]) -> int:
    from PySide6.QtWidgets import QApplication

    app = QApplication(sys.argv[:1])
    from scenes import SCENES, Stage

    from moca_gui.main_window import MainWindow

    window = MainWindow()
    window.settings.set("theme", theme)
    window.show()
    stage = Stage(window, Path.home() / "clips", PATIENCE_S)
    window.runner.failed.connect(lambda error, title: sys.stderr.write(f"{title}: {error}\n"))
    ending = ("" if theme == "dark" else f"-{theme}") + (f"@{scale}x" if scale > 1 else "")
    for scene in SCENES:
        if names and scene.name not in names:
            continue
        stage.clear()
        shown = scene.show(stage)
        for _ in range(5):
            app.processEvents()
        path = folder / f"{scene.name}{ending}.png"
        save_small(shown.grab().toImage(), path)
        scene.end(stage)
        sys.stdout.write(f"{path}: {path.stat().st_size // 1000} kB\n")
        sys.stdout.flush()
    stage.clear()
    window.close()
    return 0


def save_small(image: object, path: Path) -> None:
    """Write a `QImage` as a small PNG of few colours."""
    from PIL import Image
    from PySide6.QtGui import QImage

    assert isinstance(image, QImage)
    image = image.convertToFormat(QImage.Format.Format_RGBA8888)
    size = image.width(), image.height()
    picture = Image.frombuffer("RGBA", size, bytes(image.constBits()), "raw", "RGBA", 0, 1)
    few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
