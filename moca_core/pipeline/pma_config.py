"""The settings of PMA (METHOD.md section 5), apart from it: reading them imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from moca_core.errors import ConfigError

MODES = ("ssd+ncc", "ssd", "ncc")


@dataclass(frozen=True)
class PmaConfig:
    """How two pictures are compared.

    Attributes
    ----------
    window : w, the side of the square window in locations; odd.
    alpha : weight of SSD against NCC in the mode `ssd+ncc`.
    tau : temperature of the softmin: the smaller, the more the best match alone counts.
    radius : rho, how far away a match may lie along rows and columns, in locations; None: anywhere.
        0 compares each location with the same one of the other picture.
    mode : which costs, a name in `MODES`.
    """

    window: int = 3
    alpha: float = 0.5
    tau: float = 0.05
    radius: int | None = None
    mode: str = "ssd+ncc"

    def __post_init__(self) -> None:
        if self.window < 1 or self.window % 2 == 0:
            raise ConfigError(f"window = {self.window}", "Use an odd number: 1, 3, 5, ...")
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"alpha = {self.alpha:g}", "Use 0 (NCC alone) to 1 (SSD alone).")
        if not 0 < self.tau < float("inf"):
            raise ConfigError(f"tau = {self.tau:g}", "Use a number above 0, such as 0.05.")
        if self.radius is not None and self.radius < 0:
            raise ConfigError(f"radius = {self.radius}", "Use 0 or more, or none at all.")
        if self.mode not in MODES:
            raise ConfigError(f"{self.mode!r} is not a mode", f"Use one of {', '.join(MODES)}.")

    @property
    def share(self) -> float:
        """Weight of SSD in C, which the mode or alpha says."""
        return {"ssd": 1.0, "ncc": 0.0}.get(self.mode, self.alpha)
