"""Icons drawn from paths, so that they take the theme's colours and stay sharp at any scale."""

from __future__ import annotations

from PySide6.QtCore import QByteArray, Qt
from PySide6.QtGui import QIcon, QPainter, QPixmap
from PySide6.QtSvg import QSvgRenderer

from moca_gui.theme import Theme

# One SVG body an icon on a 24 x 24 grid; `C` stands for the colour.
_PATHS = {
    "play": '<path fill="C" d="M7 4.5v15l12.5-7.5z"/>',
    "pause": '<path fill="C" d="M6 5h4.2v14H6zM13.8 5H18v14h-4.2z"/>',
    "step_back": '<path fill="C" d="M16.5 5v14L7.5 12zM5 5h2.2v14H5z"/>',
    "step_forward": '<path fill="C" d="M7.5 5v14l9-7zM16.8 5H19v14h-2.2z"/>',
    "previous_result": (
        '<path fill="none" stroke="C" stroke-width="2" d="M11 6l-6 6 6 6M19 6l-6 6 6 6"/>'
    ),
    "next_result": (
        '<path fill="none" stroke="C" stroke-width="2" d="M13 6l6 6-6 6M5 6l6 6-6 6"/>'
    ),
    "loop": (
        '<path fill="none" stroke="C" stroke-width="2" d="M7 7h9a4 4 0 0 1 4 4v1M17 17H8a4 4 0 0 '
        '1-4-4v-1"/><path fill="C" d="M10 3v8L5.5 7zM14 13v8l4.500-4z"/>'
    ),
    "sound": (
        '<path fill="C" d="M4 9v6h4l5 4.500v-15L8 9z"/><path fill="none" stroke="C" '
        'stroke-width="1.8" d="M16 8.500a5 5 0 0 1 0 7M18.500 5.500a9 9 0 0 1 0 13"/>'
    ),
    "muted": (
        '<path fill="C" d="M4 9v6h4l5 4.500v-15L8 9z"/><path fill="none" stroke="C" '
        'stroke-width="2" d="M16.500 9.500l5 5M21.500 9.500l-5 5"/>'
    ),
    "open": (
        '<path fill="none" stroke="C" stroke-width="1.8" stroke-linejoin="round" '
        'd="M3.500 19V5.500h6l2 2.500h8v3M3.500 19l3-8h15l-3 8z"/>'
    ),
    "run": (
        '<circle cx="12" cy="12" r="3.2" fill="C"/><path fill="none" stroke="C" '
        'stroke-width="2" stroke-linecap="round" d="M6.500 6.500a8 8 0 0 0 0 11M17.500 6.500a8 8 '
        '0 0 1 0 11"/>'
    ),
    "eye": (
        '<path fill="none" stroke="C" stroke-width="1.8" d="M2.500 12S6 5.500 12 5.500 21.500 12 '
        '21.500 12 18 18.500 12 18.500 2.500 12 2.500 12z"/><circle cx="12" cy="12" r="3" '
        'fill="C"/>'
    ),
    "fit": (
        '<path fill="none" stroke="C" stroke-width="2" d="M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5"/>'
    ),
    "found": (
        '<circle cx="12" cy="12" r="7" fill="none" stroke="C" stroke-width="2" '
        'stroke-dasharray="3 2.500"/>'
    ),
    "accepted": '<path fill="none" stroke="C" stroke-width="2.4" d="M4.500 12.500l5 5L19.500 7"/>',
    "drawn": ('<path fill="C" d="M4 20l1-5L15.500 4.500l4 4L9 19z"/>'),
    "followed": (
        '<path fill="none" stroke="C" stroke-width="2" d="M3 12h14M12.500 6.500l5.500 5.500-5.500 '
        '5.500"/><circle cx="4.500" cy="12" r="2.500" fill="C"/>'
    ),
    "reject": '<path fill="none" stroke="C" stroke-width="2.4" d="M6 6l12 12M18 6L6 18"/>',
    "rename": (
        '<path fill="none" stroke="C" stroke-width="1.8" d="M3.500 7.500h17v9h-17zM7 10v4"/>'
        '<path fill="none" stroke="C" stroke-width="1.8" d="M9.500 12h7"/>'
    ),
    "merge": (
        '<circle cx="9" cy="12" r="5.500" fill="none" stroke="C" stroke-width="2"/>'
        '<circle cx="15" cy="12" r="5.500" fill="C" fill-opacity="0.55" stroke="C" '
        'stroke-width="2"/>'
    ),
    "split": (
        '<path fill="C" d="M4 6h6.500v12H4zM13.500 6H20v12h-6.500z"/>'
        '<path fill="none" stroke="C" stroke-width="1.4" d="M12 3v18"/>'
    ),
    "revert": (
        '<path fill="none" stroke="C" stroke-width="2" d="M5 10h9a5 5 0 0 1 0 10h-4"/>'
        '<path fill="C" d="M9 4.500v11L2.500 10z"/>'
    ),
    "tool_select": (
        '<path fill="C" d="M6 3l12.8 9.400-6.300.9 3.400 6.200-2.700 1.400-3.400-6.200L6 19.200z"/>'
    ),
    "tool_points": (
        '<circle cx="9" cy="9" r="5.5" fill="none" stroke="C" stroke-width="1.8"/><path '
        'fill="none" stroke="C" stroke-width="1.8" d="M9 6v6M6 9h6M14.500 18h6"/>'
    ),
    "tool_box": (
        '<path fill="none" stroke="C" stroke-width="2" d="M4 9V5h4M11 5h2M16 5h4v4M20 11v2M20 '
        '15v4h-4M13 19h-2M8 19H4v-4M4 13v-2"/>'
    ),
    "tool_brush": (
        '<path fill="none" stroke="C" stroke-width="2.6" stroke-linecap="round" d="M20 4l-8 8"/>'
        '<path fill="C" d="M10.800 11.200c-3.200-.6-5.400 1.400-5.400 4.100 0 1.900-1 3.100-2.600 '
        '3.700 4.400 2 10.200.4 10.600-5z"/>'
    ),
    "tool_eraser": (
        '<path fill="none" stroke="C" stroke-width="1.800" stroke-linejoin="round" d="M9.500 '
        "19.500l-5.500-5.500L13.500 4.500l6.500 6.500-8.500 8.500zM8.500 9.500l6.500 6.500M9 "
        '19.500h11"/>'
    ),
    "tool_cut": (
        '<path fill="none" stroke="C" stroke-width="1.800" d="M8 8.500L20 17M8 15.500L20 7"/>'
        '<circle cx="6" cy="6.800" r="2.600" fill="none" stroke="C" stroke-width="1.800"/>'
        '<circle cx="6" cy="17.200" r="2.600" fill="none" stroke="C" stroke-width="1.800"/>'
    ),
    "new_object": '<path fill="none" stroke="C" stroke-width="2" d="M12 5v14M5 12h14"/>',
    "close": '<path fill="none" stroke="C" stroke-width="2" d="M6 6l12 12M18 6L6 18"/>',
}

# The program's mark: a sound arc that turns into an outlined object.
_LOGO = (
    '<rect width="24" height="24" rx="5.5" fill="#12202c"/>'
    '<circle cx="8.2" cy="12" r="2.600" fill="#E69F00"/>'
    '<path fill="none" stroke="#56B4E9" stroke-width="1.9" stroke-linecap="round" '
    'd="M12.2 7.200a6.500 6.500 0 0 1 0 9.600M15.600 4.600a10.500 10.500 0 0 1 0 14.800"/>'
)

NAMES = tuple(_PATHS)
SIZES = (16, 18, 20, 24)
"""In pixels, of the icons in menus, lists, buttons and bars; each is drawn for its size."""


def _render(body: str, size: int) -> QPixmap:
    text = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24">{body}</svg>'
    pixmap = QPixmap(size, size)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    QSvgRenderer(QByteArray(text.encode())).render(painter)
    painter.end()
    return pixmap


def icon(name: str, theme: Theme, colour: str = "") -> QIcon:
    """The icon `name` in the theme's text colour, greyed when disabled."""
    result = QIcon()
    for size in sorted({size * ratio for size in SIZES for ratio in (1, 2, 3)}):
        result.addPixmap(_render(_PATHS[name].replace('"C"', f'"{colour or theme.text}"'), size))
        result.addPixmap(
            _render(_PATHS[name].replace('"C"', f'"{theme.empty}"'), size), QIcon.Mode.Disabled
        )
    return result


def logo() -> QIcon:
    """The window icon."""
    result = QIcon()
    for size in (16, 32, 48, 64, 128, 256):
        result.addPixmap(_render(_LOGO, size))
    return result
