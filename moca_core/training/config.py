"""Settings of a training run: saved with it, and able to repeat it."""

from __future__ import annotations

from dataclasses import dataclass

from moca_core.config import check, one_of
from moca_core.device import PRECISIONS
from moca_core.models.registry import BUNDLE_NAMES

PMA_MODES = ("ssd+ncc", "ssd", "ncc")
MOST_SEED = 2**32 - 1
"""NumPy's generators take no greater one."""
_LAYOUTS = ("clips", "avsbench", "vggsound", "pairs")  # not from `layouts`, which reads files


@dataclass(frozen=True)
class TrainConfig:
    """How an adapter is trained (METHOD.md sections 3 to 6).

    Attributes
    ----------
    data : folder or table of clips or pictures with sounds; never opened for its masks.
    layout : how it is laid out, see `training.data`; "" finds it out.
    split : only items of this split; "" takes the layout's own for training.
    subsets : only these of a `pairs` table; empty: all whose sounds belong to their pictures.
    videos : folder of VGGSound's videos; "": the table's own.
    every_s : seconds between the frames that are taken of a clip.
    limit : take so many items at most, spread evenly; 0 for all.
    bundle : which encoders.
    start : adapter file to start from; "" starts at the frozen encoder.
    blocks : how many blocks get an adapter, the last ones.
    latents : m of AdaAV, the latent tokens that sum up the sound.
    reduction : r of AdaAV, by which its adapters are narrower than the tokens.
    neighbours : K, the nearest pictures of which one is the positive.
    pma_mode : which costs PMA takes, SSD, NCC or both.
    pma_window : side of its windows, in places.
    pma_alpha : share of SSD in its cost, 0 to 1.
    pma_tau : temperature of the soft minimum over matches, in units of the cost.
    pma_radius : places around a place in which its match is sought; -1: the whole picture.
    margin : in PMA's distance, by which unlike pictures must lie farther away than like ones.
    audio_negatives : the same picture with another sound must lie farther away, too.
    audio_weight : of that part of the loss.
    alignment : train an evidence head by InfoNCE between sounds and what they attend to.
    alignment_weight : of that part of the loss.
    alignment_temperature : by which its cosines are divided.
    iterations : how long.
    batch : triplets an iteration, over all processes together.
    lr : highest rate of AdamW; it falls along a cosine.
    warmup : iterations in which the rate rises to it.
    weight_decay : of AdamW, of matrices alone.
    clip : norm to which gradients are clipped.
    gate_rate : by which the rate of the adapters' gates is larger.
    ema : decay of the running mean of the weights that is kept in place of them; 0: none.
    validation : share of the recordings held out.
    validate_every : iterations between validations.
    save_every : iterations between checkpoints.
    device, precision : see `choose_device`.
    seed : fixes every random draw.
    """

    data: str = ""
    layout: str = ""
    split: str = ""
    subsets: tuple[str, ...] = ()
    videos: str = ""
    every_s: float = 1.0
    limit: int = 0
    bundle: str = "compact"
    start: str = ""
    blocks: int = 4
    latents: int = 8
    reduction: int = 8
    neighbours: int = 5
    pma_mode: str = "ssd+ncc"
    pma_window: int = 3
    pma_alpha: float = 0.5
    pma_tau: float = 0.05
    pma_radius: int = -1
    margin: float = 0.2
    audio_negatives: bool = True
    audio_weight: float = 1.0
    alignment: bool = False
    alignment_weight: float = 0.1
    alignment_temperature: float = 0.07
    iterations: int = 10_000
    batch: int = 8
    lr: float = 1e-4
    warmup: int = 200
    weight_decay: float = 0.05
    clip: float = 1.0
    gate_rate: float = 10.0
    ema: float = 0.0
    validation: float = 0.1
    validate_every: int = 250
    save_every: int = 250
    device: str = "auto"
    precision: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        one_of(self.bundle, BUNDLE_NAMES, "bundle")
        one_of(self.layout or _LAYOUTS[0], _LAYOUTS, "layout")
        one_of(self.pma_mode, PMA_MODES, "PMA mode")
        one_of(self.precision, PRECISIONS, "precision")
        for name, least in (
            ("blocks", 1),
            ("latents", 1),
            ("reduction", 1),
            ("neighbours", 1),
            ("iterations", 1),
            ("batch", 1),
            ("validate_every", 1),
            ("save_every", 1),
            ("warmup", 0),
            ("limit", 0),
            ("seed", 0),
            ("pma_radius", -1),
        ):
            value = getattr(self, name)
            check(value >= least, f"{name} = {value}", f"Use {least} or more.")
        for name in ("every_s", "pma_tau", "lr", "clip", "alignment_temperature"):
            value = getattr(self, name)
            check(0 < value < float("inf"), f"{name} = {value}", "Use a number above 0.")
        for name in ("margin", "gate_rate", "audio_weight", "alignment_weight", "weight_decay"):
            value = getattr(self, name)
            check(0 <= value < float("inf"), f"{name} = {value}", "Use a number from 0.")
        check(0 <= self.pma_alpha <= 1, f"pma_alpha = {self.pma_alpha}", "Use 0 to 1.")
        check(self.seed <= MOST_SEED, f"seed = {self.seed}", f"Use 0 to {MOST_SEED}.")
        check(self.neighbours <= 100, f"neighbours = {self.neighbours}", "Use 1 to 100.")
        texts = all(isinstance(name, str) for name in self.subsets)
        check(texts, f"subsets = {list(self.subsets)}", 'Use names in quotes, such as ["single"].')
        check(
            self.pma_window > 0 and self.pma_window % 2 == 1,
            f"pma_window = {self.pma_window}",
            "Use an odd number.",
        )
        check(0 <= self.ema < 1, f"ema = {self.ema}", "Use 0 (none) to 0.9999.")
        check(0 <= self.validation <= 0.5, f"validation = {self.validation}", "Use 0 to 0.5.")
