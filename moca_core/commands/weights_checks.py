"""What `moca doctor` says of the encoders' files and of the terms of their licences."""

from __future__ import annotations

from collections.abc import Iterator

from moca_core.commands.findings import Finding, Status
from moca_core.models import licences, specs, weights
from moca_core.models.registry import BUNDLES, BundleRow
from moca_core.models.specs import WeightsRow
from moca_core.models.weights import State

_SHOWN = 3


def weights_files() -> Iterator[Finding]:
    """The files of each bundle, by their size; `moca weights verify` reads them.

    One complete bundle is enough to work with: what another lacks is no failure then. Of the
    bundles beside the default one, to have nothing at all is a choice.
    """
    complete = any(not weights.missing(bundle.name) for bundle in BUNDLES)
    for number, bundle in enumerate(BUNDLES):
        yield _bundle(bundle, needed=number == 0 and not complete)


def _bundle(bundle: BundleRow, needed: bool) -> Finding:
    name = f"weights, {bundle.name}"
    rows, lacking = specs.rows_of(bundle.name), weights.missing(bundle.name)
    have = f"{len(rows) - len(lacking)} of {len(rows)} files ready"
    if not lacking:
        size = _size(rows)
        own = [row.name for row in rows if weights.is_own(row)]
        notes = [f"not the official file: {', '.join(own)}"] if own else []
        notes += [_terms(bundle)] if bundle.terms else []
        return Finding(Status.OK, name, "; ".join([f"{have} ({size})", *notes]))
    states = [f"{row.name} {weights.state(row)}" for row in lacking[:_SHOWN]]
    more = f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
    remedy = f"Run `moca weights get {bundle.name}` ({_size(lacking)})."
    if needed:
        return Finding(Status.FAIL, name, f"{have}: {', '.join(states)}{more}", remedy)
    if all(weights.state(row) is State.MISSING for row in rows):
        terms = f" {_terms(bundle).capitalize()}." if bundle.terms else ""
        remedy = f"To use it: `moca weights get {bundle.name}` ({_size(lacking)}).{terms}"
        return Finding(Status.INFO, name, "not here, and not needed by the others", remedy)
    return Finding(Status.WARN, name, f"{have}: {', '.join(states)}{more}", remedy)


def _terms(bundle: BundleRow) -> str:
    day = licences.shown_on(bundle.name)
    return f"its terms were shown on {day}" if day else "its terms are shown before its first use"


def _size(rows: tuple[WeightsRow, ...]) -> str:
    size = sum(row.size for row in rows)
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
