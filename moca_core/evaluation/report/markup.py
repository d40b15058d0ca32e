"""HTML and SVG built of functions: text is escaped because nothing else can be done with it."""

from __future__ import annotations

import html
from collections.abc import Iterable

_VOID = frozenset({"br", "col", "img", "link", "meta"})
"""Elements of HTML that have no end."""
_CONTROL = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 127, *range(128, 160)), "�")
"""Characters that HTML doesn't allow, and what stands for them."""


class Markup(str):
    """Text that is HTML already. Every other string is taken as words and escaped."""


Child = str | Iterable[str]
"""Words, markup, or several of them."""


def clean(words: str) -> str:
    """Words without what no page may hold: control characters, bytes that aren't text."""
    return words.encode(errors="backslashreplace").decode().translate(_CONTROL)


def text(words: str) -> Markup:
    """Words as HTML."""
    return Markup(html.escape(clean(words)))


def joined(*children: Child) -> Markup:
    """Children one after the other."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, Markup):
            parts.append(child)
        elif isinstance(child, str):
            parts.append(text(child))
        else:
            parts.append(joined(*child))
    return Markup("".join(parts))


def tag(name: str, *children: Child, **attributes: str | float | None) -> Markup:
    """An element.

    Parameters
    ----------
    attributes : a `_` at the end of a name is dropped (`class_`), others become `-`
        (`aria_label`); numbers are written with two decimals at most; None leaves one out.
    """
    head = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    end = "" if name in _VOID else f"{joined(*children)}</{name}>"
    return Markup(f"<{name}{head}>{end}")


def _value(value: str | float) -> str:
    if isinstance(value, str):
        return text(value)
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
