"""The two looks of the program: named colours, a Qt palette and one style sheet."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QFontDatabase, QPalette
from PySide6.QtWidgets import QApplication

from moca_core.paths import resource


@dataclass(frozen=True)
class Theme:
    """Colours by their use, as hex strings (`#AARRGGBB` where translucent)."""

    name: str
    window: str
    panel: str
    base: str
    stage: str
    raised: str
    hover: str
    border: str
    text: str
    dim: str
    accent: str
    on_accent: str
    danger: str
    wave: str
    wave_rms: str
    playhead: str
    window_shade: str
    window_edge: str
    range_shade: str
    range_edge: str
    empty: str
    corrected: str


DARK = Theme(
    name="dark",
    window="#1b1e22",
    panel="#22262b",
    base="#15171a",
    stage="#101214",
    raised="#2c3138",
    hover="#38404a",
    border="#3a414a",
    text="#e8eaed",
    dim="#a2abb6",
    accent="#5fb0f2",
    on_accent="#0b1a26",
    danger="#ff7b6e",
    wave="#4d8fc7",
    wave_rms="#8cc4f5",
    playhead="#ff6159",
    window_shade="#2cffd666",
    window_edge="#b3ffd666",
    range_shade="#265fb0f2",
    range_edge="#5fb0f2",
    empty="#5b646f",
    corrected="#f0b429",
)

LIGHT = Theme(
    name="light",
    window="#eef0f3",
    panel="#f8f9fa",
    base="#ffffff",
    stage="#d8dce1",
    raised="#e3e7eb",
    hover="#d5dce3",
    border="#c3cad2",
    text="#1b2026",
    dim="#55606b",
    accent="#1668ad",
    on_accent="#ffffff",
    danger="#b3261e",
    wave="#6fa6d6",
    wave_rms="#22699f",
    playhead="#d1242f",
    window_shade="#2ee0a800",
    window_edge="#d0a87c00",
    range_shade="#261668ad",
    range_edge="#1668ad",
    empty="#99a3ae",
    corrected="#a45c00",
)

THEMES = {"dark": DARK, "light": LIGHT}
THEME_CHOICES = ("system", "dark", "light")
_TITLE = 15 / 9  # of the size of other text
_SCALE = "text_scale"  # a property of the application

_STYLE = """
* {{ outline: none; }}
QMainWindow, QDialog {{ background: {window}; }}
QToolTip {{ background: {raised}; color: {text}; border: 1px solid {border}; padding: 4px; }}
QMenuBar {{ background: {window}; padding: 2px 4px; }}
QMenuBar::item {{ padding: 4px 9px; border-radius: 4px; background: transparent; }}
QMenuBar::item:selected {{ background: {hover}; }}
QMenu {{ background: {panel}; border: 1px solid {border}; padding: 5px 0; }}
QMenu::item {{ padding: 5px 26px 5px 14px; }}
QMenu::item:selected {{ background: {accent}; color: {on_accent}; }}
QMenu::item:disabled {{ color: {empty}; background: transparent; }}
QMenu::separator {{ height: 1px; background: {border}; margin: 5px 0; }}
QMenu::indicator {{ left: 8px; width: 13px; height: 13px; }}
QMenu::icon {{ padding-left: 8px; }}
QToolBar {{ background: {window}; border: none; border-bottom: 1px solid {border};
    spacing: 5px; padding: 5px 8px; }}
QToolBar::separator {{ width: 1px; background: {border}; margin: 3px 5px; }}
QToolButton {{ border: 1px solid transparent; border-radius: 5px; padding: 4px 7px; }}
QToolButton:hover {{ background: {hover}; }}
QToolButton:pressed {{ background: {border}; }}
QToolButton:checked {{ background: {raised}; border-color: {border}; }}
QToolButton:focus {{ border-color: {accent}; }}
QToolButton:disabled {{ color: {empty}; }}
QToolButton#primary, QPushButton#primary {{ background: {accent}; color: {on_accent};
    font-weight: 600; border: 1px solid {accent}; border-radius: 5px; }}
QToolButton#primary {{ padding: 4px 12px; }}
QToolButton#primary[popupMode="1"] {{ padding-right: 24px; }}
QToolButton#primary::menu-button {{ border: none; border-left: 1px solid {window}; width: 19px;
    border-top-right-radius: 5px; border-bottom-right-radius: 5px; }}
QToolButton#primary:disabled, QPushButton#primary:disabled {{ background: {raised};
    color: {empty}; border-color: {border}; }}
QToolButton#plain {{ background: {raised}; border-color: {border}; padding: 2px 9px; }}
QToolButton#plain:hover {{ background: {hover}; }}
QToolButton#plain:focus {{ border-color: {accent}; }}
QToolButton#primary:focus, QPushButton#primary:focus {{ border: 2px solid {text}; }}
QPushButton {{ background: {raised}; border: 1px solid {border}; border-radius: 5px;
    padding: 5px 14px; min-width: 62px; }}
QPushButton:hover {{ background: {hover}; }}
QPushButton:focus {{ border-color: {accent}; }}
QPushButton:disabled {{ color: {empty}; }}
QPushButton#link {{ background: transparent; border: 1px solid transparent; color: {accent};
    padding: 3px 8px; }}
QPushButton#link:hover {{ background: {raised}; }}
QPushButton#link:focus {{ border-color: {accent}; }}
QDockWidget {{ font-weight: 600; titlebar-close-icon: none; titlebar-normal-icon: none; }}
QDockWidget::title {{ background: {window}; padding: 7px 10px; text-align: left; }}
QMainWindow::separator {{ background: {window}; width: 5px; height: 5px; }}
QMainWindow::separator:hover {{ background: {accent}; }}
QStatusBar {{ background: {window}; border-top: 1px solid {border}; }}
QStatusBar::item {{ border: none; }}
QTableView, QPlainTextEdit, QListView, QTreeView {{ background: {panel};
    border: 1px solid transparent; selection-background-color: {hover}; selection-color: {text}; }}
QTableView:focus, QPlainTextEdit:focus, QListView:focus, QTreeView:focus {{
    border-color: {accent}; }}
QTreeView::item {{ padding: 3px 0; }}
QHeaderView::section {{ background: {panel}; color: {dim}; border: none; padding: 4px 6px;
    border-bottom: 1px solid {border}; }}
QTableView::item {{ padding: 3px 6px; }}
QListView::item {{ padding: 4px 8px; border-radius: 4px; }}
QListView::item:selected {{ background: {raised}; color: {text}; }}
QLineEdit, QComboBox, QAbstractSpinBox {{ background: {base}; border: 1px solid {border};
    border-radius: 5px; padding: 4px 7px; selection-background-color: {accent};
    selection-color: {on_accent}; }}
QLineEdit:focus, QComboBox:focus, QAbstractSpinBox:focus {{ border-color: {accent}; }}
QComboBox::drop-down {{ border: none; width: 20px; }}
QComboBox::down-arrow {{ width: 0; height: 0; margin-right: 8px; border-left: 4px solid {base};
    border-right: 4px solid {base}; border-top: 5px solid {dim}; }}
QComboBox QAbstractItemView {{ background: {panel}; border: 1px solid {border};
    selection-background-color: {accent}; selection-color: {on_accent}; }}
QAbstractSpinBox > QLineEdit {{ background: transparent; border: none; padding: 0 2px; }}
QAbstractSpinBox::up-button, QAbstractSpinBox::down-button {{ border: none; width: 16px; }}
QAbstractSpinBox::up-arrow, QAbstractSpinBox::down-arrow {{ width: 0; height: 0;
    border-left: 4px solid {base}; border-right: 4px solid {base}; }}
QAbstractSpinBox::up-arrow {{ border-bottom: 5px solid {dim}; }}
QAbstractSpinBox::down-arrow {{ border-top: 5px solid {dim}; }}
QCheckBox {{ border: 1px solid transparent; border-radius: 4px; padding: 2px; }}
QCheckBox:focus {{ border-color: {accent}; }}
QCheckBox::indicator, QTableView::indicator {{ width: 13px; height: 13px;
    background: {base}; border: 1px solid {dim};
    border-radius: 3px; }}
QCheckBox::indicator:checked, QTableView::indicator:checked {{ background: {accent};
    border-color: {accent}; image: url("{tick}"); }}
QCheckBox::indicator:disabled {{ background: {panel}; border-color: {border}; }}
QTabWidget::pane {{ background: {panel}; border: 1px solid {border}; border-radius: 5px;
    top: -1px; }}
QTabWidget > QStackedWidget {{ background: {panel}; }}
QTabBar::tab {{ background: transparent; color: {dim}; border: 1px solid transparent;
    padding: 6px 13px; }}
QMainWindow > QTabBar::tab {{ padding: 6px 7px; }}
QTabBar::tab:hover {{ color: {text}; }}
QTabBar::tab:selected {{ background: {panel}; color: {text}; border-color: {border};
    border-bottom-color: {panel}; border-top-left-radius: 5px; border-top-right-radius: 5px; }}
QTabBar::tab:focus {{ border-top-color: {accent}; }}
QProgressBar {{ background: {base}; border: 1px solid {border}; border-radius: 5px;
    text-align: center; min-height: 14px; }}
QProgressBar::chunk {{ background: {accent}; border-radius: 4px; }}
QSlider::groove:horizontal {{ height: 4px; background: {border}; border-radius: 2px; }}
QSlider::sub-page:horizontal {{ background: {accent}; border-radius: 2px; }}
QSlider::handle:horizontal {{ background: {text}; width: 12px; height: 12px; margin: -4px 0;
    border-radius: 6px; }}
QSlider::handle:horizontal:focus {{ background: {accent}; }}
QSlider::sub-page:horizontal:disabled {{ background: {border}; }}
QSlider::handle:horizontal:disabled {{ background: {empty}; }}
QScrollBar:vertical {{ background: transparent; width: 11px; margin: 1px; }}
QScrollBar::handle:vertical {{ background: {border}; border-radius: 4px; min-height: 24px; }}
QScrollBar:horizontal {{ background: transparent; height: 11px; margin: 1px; }}
QScrollBar::handle:horizontal {{ background: {border}; border-radius: 4px; min-width: 24px; }}
QScrollBar::add-line, QScrollBar::sub-line {{ width: 0; height: 0; }}
QScrollBar::add-page, QScrollBar::sub-page {{ background: transparent; }}
QLabel#dim {{ color: {dim}; }}
QLabel#title {{ font-size: {title_pt}pt; font-weight: 600; }}
*[mono="true"] {{ font-family: "{mono}"; }}
QLabel#heading {{ font-weight: 600; }}
QLabel#danger {{ color: {danger}; }}
QFrame#rule {{ background: {border}; border: none; }}
QFrame#ring {{ background: transparent; border: 2px solid {accent}; }}
QWidget#surface {{ background: {panel}; }}
"""


def resolve(choice: str) -> Theme:
    """Theme for `choice`: `dark`, `light`, or `system` (what the desktop asks for)."""
    if choice in THEMES:
        return THEMES[choice]
    scheme = QApplication.styleHints().colorScheme()
    return LIGHT if scheme == Qt.ColorScheme.Light else DARK


def apply(app: QApplication, theme: Theme, text_size: float = 1.0) -> None:
    """Give the whole application the colours of `theme`, and text of `text_size` times its size."""
    app.setStyle("Fusion")
    font = QFontDatabase.systemFont(QFontDatabase.SystemFont.GeneralFont)
    font.setPointSizeF(font.pointSizeF() * text_size)
    app.setFont(font)
    app.setProperty(_SCALE, text_size)
    mono = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
    palette = QPalette()
    roles = QPalette.ColorRole
    for role, colour in (
        (roles.Window, theme.window),
        (roles.WindowText, theme.text),
        (roles.Base, theme.base),
        (roles.AlternateBase, theme.raised),
        (roles.Text, theme.text),
        (roles.Button, theme.raised),
        (roles.ButtonText, theme.text),
        (roles.BrightText, theme.danger),
        (roles.ToolTipBase, theme.raised),
        (roles.ToolTipText, theme.text),
        (roles.PlaceholderText, theme.dim),
        (roles.Highlight, theme.accent),
        (roles.HighlightedText, theme.on_accent),
        (roles.Link, theme.accent),
    ):
        palette.setColor(role, QColor(colour))
    disabled = QPalette.ColorGroup.Disabled
    for role in (roles.WindowText, roles.Text, roles.ButtonText):
        palette.setColor(disabled, role, QColor(theme.empty))
    app.setPalette(palette)
    tick = resource(f"icons/tick-{theme.name}.svg").as_posix()
    looks = {"mono": mono.family(), "title_pt": font.pointSizeF() * _TITLE, "tick": tick}
    sheet = _STYLE.format(**vars(theme), **looks)
    if app.styleSheet() != sheet:  # it is worked out for every widget anew
        app.setStyleSheet(sheet)


def text_scale() -> float:
    """How much larger the program's text is than what the system asks for."""
    app = QApplication.instance()
    return float(app.property(_SCALE) or 1.0) if app is not None else 1.0


def px(pixels: int) -> int:
    """The room for a text that needs `pixels` at its normal size."""
    return round(pixels * text_scale())


def contrast(first: str, second: str) -> float:
    """WCAG 2 contrast ratio of two opaque hex colours, 1 to 21."""

    def luminance(colour: str) -> float:
        own = QColor(colour)
        channels = (own.redF(), own.greenF(), own.blueF())
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
