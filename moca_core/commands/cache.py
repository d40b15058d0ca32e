"""`moca cache`: what the program keeps on disk to be quick, and how it goes."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from moca_core import paths
from moca_core.cli import DONE
from moca_core.commands.running import say
from moca_core.training import feature_folders
from moca_core.training.feature_folders import LIMIT, FeatureFolder

HELP = (
    "Show what the program keeps on disk so that it is quick the next time, and clear it. Nothing "
    "of it is needed: it is computed again when it is wanted. Features of training that weren't "
    f"used for longest make room by themselves above a limit ({LIMIT}, in GB)."
)


@dataclass(frozen=True)
class Cleared:
    """What went: how many, of which size, and how many stayed since they are in use."""

    count: int
    size: int
    in_use: int = 0


def _clear_features() -> Cleared:
    folders = feature_folders.feature_folders()
    gone = [folder for folder in folders if feature_folders.remove(folder.path)]
    return Cleared(len(gone), total(gone), len(folders) - len(gone))


def total(folders: Iterable[FeatureFolder]) -> int:
    """Bytes of several folders."""
    return sum(folder.size for folder in folders)


def _notes() -> list[Path]:
    return sorted(feature_folders.features_root().glob("*.sqlite"))


def _clear_notes() -> Cleared:
    """A process that has one open keeps it until it ends; SQLite's own files go with each."""
    gone, found = [], _notes()
    for path in found:
        size = path.stat().st_size
        with suppress(OSError):  # Windows removes no file that is open
            for part in (path, *path.parent.glob(f"{path.name}-*")):
                part.unlink(missing_ok=True)
            gone.append(size)
    return Cleared(len(gone), sum(gone), len(found) - len(gone))


CLEARED: Mapping[str, Callable[[], Cleared]] = MappingProxyType(
    {"features": _clear_features, "notes": _clear_notes}
)
"""What can be cleared by its name."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "action",
        nargs="?",
        choices=("list", "clear"),
        default="list",
        help="list: what is there (without an action, too); clear: remove what no run has open",
    )
    parser.add_argument(
        "what",
        nargs="*",
        metavar="WHAT",
        help="to clear. features: of training's pictures and sounds; notes: what is known of data",
    )


def run(args: argparse.Namespace) -> int:
    """List, or clear."""
    wrong = [name for name in args.what if name not in CLEARED]
    if wrong or (args.action == "clear") != bool(args.what):
        args.usage_error(f"clear takes {' or '.join(CLEARED)}, list nothing")
    for name in dict.fromkeys(args.what):
        say(_told(name, CLEARED[name]()), args.quiet)
    if args.action == "list":
        _show()
    return DONE


def _told(name: str, cleared: Cleared) -> str:
    stays = f"; {cleared.in_use} stay, in use" if cleared.in_use else ""
    return f"{name}: {cleared.count} removed, {cleared.size / 1e9:.2f} GB{stays}"


def _show() -> None:
    folders, limit = feature_folders.feature_folders(), feature_folders.limit_bytes()
    say(f"{_row('features', total(folders))}  of {limit / 1e9:g} GB that they may take ({LIMIT})")
    for folder in reversed(folders):
        day = time.strftime("%Y-%m-%d %H:%M", time.localtime(folder.used_s))
        open_now = ", in use" if feature_folders.is_used(folder.path) else ""
        say(f"  {folder.size / 1e9:8.2f} GB  {folder.path.name}, used {day}{open_now}")
    notes = sum(path.stat().st_size for path in _notes())
    say(f"{_row('notes', notes)}  what is known of data sets: checks, likenesses")
    say(f"{_row('results', _tree_size(paths.results_dir()))}  of clips, so that a run goes on")
    say(f"{_row('weights', _tree_size(paths.weights_dir()))}  see `moca weights`")
    say(f"They are in {paths.cache_dir()}. `moca cache clear features notes` removes those two.")


def _row(name: str, size: int) -> str:
    return f"{name:9}{size / 1e9:6.2f} GB"


def _tree_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
