"""Words as the window writes them."""

from __future__ import annotations


def capital(text: str) -> str:
    """The text with a capital letter.

    >>> capital("no audio device")
    'No audio device'
    """
    return text[:1].upper() + text[1:]


def sentence(text: str) -> str:
    """The text as a sentence.

    >>> sentence("masks as pictures")
    'Masks as pictures.'
    """
    return f"{capital(text)}."
