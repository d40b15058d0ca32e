"""The questions about projects, each a window with its answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget

from moca_core.errors import MocaError
from moca_gui.dialogs.question import Question
from moca_gui.projects.reading import ClipMissingError, OtherClipError

Answer = Callable[[], object]


def ask_unsaved(
    parent: QWidget,
    name: str,
    error: MocaError | None,
    save: Answer,
    save_as: Answer,
    discard: Answer,
    cancel: Answer,
) -> Question:
    """What becomes of corrections that aren't saved, as the clip is about to be left."""
    if error is None:
        text = "There are corrections that aren't saved yet."
    else:
        text = f"Its corrections couldn't be saved. {error.message}."
    hint = f"{error.hint} " if error is not None and error.hint else ""
    hint += "Discard leaves the project on disk as it was saved last."
    asked = Question(f"Save the project of {name}?", text, parent, hint)
    asked.add("Save" if error is None else "Try again", save, default=True)
    asked.add("Save as…", save_as)
    asked.add("Discard", discard)
    asked.add("Cancel")
    asked.rejected.connect(cancel)
    return shown(asked)


def tell_failed(parent: QWidget, error: MocaError, again: Answer, save_as: Answer) -> Question:
    """Why the project isn't saved, and what can be done."""
    hint = f"{error.hint} It is tried again by itself meanwhile; nothing is lost in this window."
    asked = Question("The project isn't saved", f"{error.message}.", parent, hint.strip())
    asked.add("Try again", again, default=True)
    asked.add("Save as…", save_as)
    asked.add("Close")
    return shown(asked)


def tell_trouble(parent: QWidget, error: MocaError, save_as: Answer) -> Question:
    """Why the project of this clip isn't used; it stays as it is."""
    hint = f"{error.hint} Corrections made now can be saved under another name."
    asked = Question("The project of this clip isn't open", f"{error.message}.", parent, hint)
    asked.add("Save as…", save_as)
    asked.add("Close", default=True)
    return shown(asked)


def ask_conflict(
    parent: QWidget, error: MocaError, overwrite: Answer, save_as: Answer, reload: Answer
) -> Question:
    """Which of two states of a project counts."""
    asked = Question(
        "The project on disk isn't as it was here",
        f"{error.message}. Nothing is saved by itself until you decide.",
        parent,
        "Overwrite puts what is on screen in its place. Save as keeps both. Reload shows what is "
        "on disk, and lets go of what was changed here since.",
    )
    asked.add("Overwrite", overwrite)
    asked.add("Save as…", save_as)
    asked.add("Reload", reload)
    asked.add("Not now", default=True)
    return shown(asked)


def ask_place(parent: QWidget, clip: Path, folder: Path, keep: Answer, choose: Answer) -> Question:
    """Where projects go that can't lie beside their clips."""
    asked = Question(
        "Where may the project be saved?",
        f"Nothing can be written beside {clip.name}, in {clip.parent}.",
        parent,
        f"It can be saved in {folder}, or in a folder of yours. Projects of other clips whose "
        "folders can't be written go there too, and open with their clips.",
    )
    asked.add("Use that folder", keep, default=True)
    asked.add("Choose a folder…", choose)
    asked.add("Not now")
    return shown(asked)


def ask_where(parent: QWidget, error: ClipMissingError, choose: Answer) -> Question:
    """Where the clip of a project is."""
    ref = error.ref
    height, width = ref.size
    asked = Question(
        f"Where is {ref.path.name}?",
        f"{error.message}.",
        parent,
        f"It has {ref.frame_count} frames of {width} by {height} pixels. It is known by its "
        "content, so it may have another name now.",
    )
    asked.add("Choose it…", choose, default=True)
    asked.add("Cancel")
    return shown(asked)


def ask_other(
    parent: QWidget, error: OtherClipError, use: Answer, instead: tuple[str, Answer]
) -> Question:
    """Whether a clip with another content is taken for that of a project.

    Parameters
    ----------
    instead : what else can be done.
    """
    if error.fits:
        text = f"{error.message}. It has as many frames of the same size."
    else:
        text = f"{error.message}, and other frames: its masks can't be shown on it."
    asked = Question("This is another clip", text, parent, error.hint if error.fits else "")
    if error.fits:
        asked.add("Use it anyway", use)
    asked.add(*instead, default=True)
    asked.add("Cancel")
    return shown(asked)


def shown(asked: Question) -> Question:
    """Show a question, which is gone when it is answered."""
    asked.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    asked.open()
    return asked
