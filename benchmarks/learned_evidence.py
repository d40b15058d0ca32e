"""What learning on the development pairs can do for the compact bundle's masks, and what it can't.

    python benchmarks/learned_evidence.py DATA --out FOLDER
    python benchmarks/learned_evidence.py DATA --out FOLDER --parts adapter --iterations 60

DATA is a folder of layout `pairs`. Every picture is looked at once (about 2 s each; kept in
FOLDER), then masks are decided again and again, in seconds for the whole set. The parts:

* `bounds`: nothing is learnt. The heard weights are replaced by the true category, the looks of
  places and proposals by those of the class maps, and both: how much better evidence could help.
* `heads`: a small network on the patch tokens says how much each place looks like each group; its
  answer is mixed into the bundle's own. It is taught by the bundle itself (`painted`: the looks of
  its proposals; `heard`: the masks of what it finds in the sounds that belong to a picture), and,
  as a bound, by true masks (`truth`). Five folds by picture.
* `adapter`: AdaAV by `moca train` as it is, two folds; what is learnt from shares neither picture
  nor recording with what is scored. An adapter moves tokens, which `kmeans` and `diffuse` read.

Numbers are means over the seeds with their standard deviation, of the mean IoU by subset, and the
share of `ms_one` whose mask is nearest to the object that sounds. Only `bounds` and `truth` look at
true masks for anything but the score.
"""

from __future__ import annotations

import argparse
import csv
import json
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from moca_core.config import SegmentConfig
from moca_core.evaluation.layouts import LAYOUTS, ONE_OF_SEVERAL, Case, read_image, read_mask
from moca_core.evaluation.metrics import iou
from moca_core.evaluation.runner import nearest, read_sound, resized_mask
from moca_core.models.adapter import Adapter, adapter_config
from moca_core.models.compact import CompactBundle
from moca_core.pipeline.analysis import FrameAnalysis, mean_inside, resized
from moca_core.pipeline.hearing import Heard
from moca_core.pipeline.matching import Match
from moca_core.pipeline.segmenter import Segmenter
from moca_core.training.config import TrainConfig
from moca_core.training.layouts import Choice, index_items
from moca_core.training.run import ADAPTER, fit

SUBSETS = ("single", ONE_OF_SEVERAL, "ms_both", "ms_off")
ABSENT = "ms_off"
FOLDS = 5
MIXED = 0.3
"""Share of what was learnt in the looks of places and proposals: the best of .2, .3, .5, .7, 1."""
HIDDEN, EPOCHS, BATCH, RATE, DECAY, DROPPED = 256, 12, 4096, 2e-3, 1e-2, 0.2

Change = Callable[[FrameAnalysis, Path], FrameAnalysis]


@dataclass(eq=False)
class Study:
    """The data, with every picture looked at and every sound read."""

    root: Path
    cases: Sequence[Case]
    segmenter: Segmenter
    looks: Mapping[Path, FrameAnalysis]
    waves: Mapping[Path, np.ndarray]

    @property
    def bundle(self) -> CompactBundle:
        """The encoders."""
        bundle = self.segmenter.bundle
        assert isinstance(bundle, CompactBundle)
        return bundle

    @cached_property
    def rows(self) -> dict[str, dict[str, str]]:
        """The rows of the manifest by their ids."""
        with (self.root / "manifest.csv").open(encoding="utf-8", newline="") as stream:
            return {row["id"]: row for row in csv.DictReader(stream)}

    @cached_property
    def heard(self) -> dict[Path, Heard]:
        """What is heard in each sound."""
        return {path: self.bundle.hear(wave) for path, wave in self.waves.items()}

    @cached_property
    def truths(self) -> dict[str, tuple[np.ndarray, list[np.ndarray]]]:
        """The true mask of each case, and those of its picture with other sounds."""
        return {
            case.id: (
                read_mask(case.mask_path),
                [read_mask(path) for path in case.other_mask_paths],
            )
            for case in self.cases
        }

    def folds(self, count: int, seed: int) -> dict[Path, int]:
        """A fold for each picture."""
        order = np.random.default_rng(seed).permutation(len(self.looks))
        return {path: int(at) % count for path, at in zip(sorted(self.looks), order, strict=True)}

    def decided(
        self,
        case: Case,
        change: Change = lambda analysis, path: analysis,
        heard: Heard | None = None,
        regions: str = "",
    ) -> Match:
        """What is found in a case, whose looks or sound may be changed."""
        segmenter = self.segmenter
        if regions:
            config = SegmentConfig(regions=regions)
            segmenter = Segmenter(config, "cpu", bundle=self.bundle)
        analysis = change(self.looks[case.image_path], case.image_path)
        return segmenter.decide(
            analysis, heard or self.heard[case.audio_path], read_image(case.image_path)
        )

    def scored(self, cases: Sequence[Case], decide: Callable[[Case], Match]) -> dict[str, float]:
        """Mean IoU by subset, and the share of `ms_one` that is right."""
        found: dict[str, list[float]] = {}
        for case in cases:
            truth, others = self.truths[case.id]
            mask = np.zeros(self.looks[case.image_path].size, dtype=bool)
            for item in decide(case).objects:
                mask |= item.mask
            mask = resized_mask(mask, (truth.shape[0], truth.shape[1]))
            score = iou(mask, truth) if truth.any() else 1 - float(mask.mean())
            found.setdefault(case.subset, []).append(score)
            if case.subset == ONE_OF_SEVERAL:
                found.setdefault("right", []).append(nearest(mask, truth, others) == "right")
        return {name: float(np.mean(values)) for name, values in found.items()}


def opened(root: Path, out: Path) -> Study:
    """Look at every picture, unless that was done before."""
    cases = LAYOUTS["pairs"](root, None, None).cases
    segmenter = Segmenter(device="cpu")
    for _ in segmenter.load():
        pass
    bundle = segmenter.bundle
    assert isinstance(bundle, CompactBundle)
    kept = out / "looks.pickle"
    looks = pickle.loads(kept.read_bytes()) if kept.exists() else {}
    # With an adapter that changes nothing, what enters the adapted blocks is kept too.
    bundle.adapt(Adapter(adapter_config("compact")))
    for number, path in enumerate(sorted({case.image_path for case in cases})):
        if path not in looks:
            looks[path] = segmenter.analysed(read_image(path))
            if number % 20 == 0:
                say(f"looked at {number} pictures")
    bundle.adapt(None)
    kept.write_bytes(pickle.dumps(looks))
    waves = {path: read_sound(path) for path in {case.audio_path for case in cases}}
    return Study(root, cases, segmenter, looks, waves)


# Bounds


def bounds(study: Study) -> Iterator[tuple[str, dict[str, float]]]:
    """What better evidence would give."""
    names = study.bundle.groups.names
    classes = json.loads((study.root / "classes.json").read_text())
    maps = {case.image_path: study.root / study.rows[case.id]["class_map"] for case in study.cases}

    def seen_truly(analysis: FrameAnalysis, path: Path) -> FrameAnalysis:
        marked = class_maps(maps[path], classes, names, analysis.saliency.shape)
        return replace(analysis, groups=marked, looks=mean_inside(analysis.proposals.masks, marked))

    def heard_truly(case: Case) -> Heard:
        weights = np.zeros(len(names), dtype=np.float32)
        weights[[names.index(name) for name in case.category.split("+")]] = 1
        return Heard(weights / weights.sum())

    yield "as it is", study.scored(study.cases, study.decided)
    yield (
        "true category heard",
        study.scored(study.cases, lambda case: study.decided(case, heard=heard_truly(case))),
    )
    yield (
        "true classes seen",
        study.scored(study.cases, lambda case: study.decided(case, seen_truly)),
    )
    yield (
        "both",
        study.scored(study.cases, lambda case: study.decided(case, seen_truly, heard_truly(case))),
    )


def class_maps(
    path: Path, classes: Mapping[str, str], names: Sequence[str], size: tuple[int, int]
) -> np.ndarray:
    """(G, h, w) float32: the share of each place that is of each group."""
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    found = np.zeros((len(names), *size), dtype=np.float32)
    for number, name in classes.items():
        if name in names:
            own = (labels == int(number)).astype(np.float32)
            found[names.index(name)] = resized(own, size, shrink=True)
    return found


# Heads


def painted(study: Study, path: Path) -> np.ndarray:
    """(G, h, w): the looks of the proposals where they lie, small ones above large ones."""
    analysis = study.looks[path]
    if not len(analysis.proposals):
        return analysis.groups
    flat = analysis.proposals.masks.reshape(len(analysis.proposals), -1).astype(np.float32)
    weight = (flat.mean(axis=1) + 0.02) ** -0.5
    total = weight @ flat
    looks = (analysis.looks * weight[:, None]).T @ flat / np.maximum(total, 1e-6)
    bare = total <= 0
    looks[:, bare] = 0.25 * analysis.groups.reshape(len(looks), -1)[:, bare]
    return looks.reshape(analysis.groups.shape)


def found_by_ear(study: Study, path: Path) -> np.ndarray:
    """(G, h, w): masks of what is found in the sounds that belong to a picture."""
    analysis = study.looks[path]
    marked = np.zeros_like(analysis.groups)
    for case in study.cases:
        if case.image_path != path or case.subset == ABSENT:
            continue
        for item in study.decided(case).objects:
            mask = resized(item.mask.astype(np.float32), analysis.saliency.shape, shrink=True)
            group = study.bundle.names.index(item.name)
            marked *= 1 - mask
            marked[group] = np.maximum(marked[group], mask)
    return marked


def marked_by_hand(study: Study, path: Path) -> np.ndarray:
    """(G, h, w) of the class maps: what no training may see, as a bound."""
    classes = json.loads((study.root / "classes.json").read_text())
    row = next(study.rows[case.id] for case in study.cases if case.image_path == path)
    size = study.looks[path].saliency.shape
    return class_maps(study.root / row["class_map"], classes, study.bundle.groups.names, size)


TEACHERS = {"painted": painted, "heard": found_by_ear, "truth": marked_by_hand}


def heads(study: Study, seeds: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Heads on tokens by each teacher and seed, tested on pictures that they haven't seen."""
    tokens = {path: standardised(look.tokens) for path, look in study.looks.items()}
    for name, teach in TEACHERS.items():
        taught = {}
        for path, look in study.looks.items():
            maps = teach(study, path)
            taught[path] = np.stack(
                [resized(one, look.token_grid, shrink=True).ravel() for one in maps], axis=1
            )
        for seed in range(seeds):
            learnt = cross_learnt(study, tokens, taught, seed)
            yield f"head by {name}", study.scored(study.cases, mixing(study, learnt))


def standardised(tokens: np.ndarray) -> np.ndarray:
    """(N, D) of mean 0 and deviation 1 each."""
    spread = tokens.std(axis=1, keepdims=True) + 1e-6
    return ((tokens - tokens.mean(axis=1, keepdims=True)) / spread).astype(np.float32)


def cross_learnt(
    study: Study, tokens: Mapping[Path, np.ndarray], taught: Mapping[Path, np.ndarray], seed: int
) -> dict[Path, np.ndarray]:
    """(N, G) answers for each picture by a head that was trained on the other folds."""
    fold = study.folds(FOLDS, seed)
    answers = {}
    for held in range(FOLDS):
        paths = [path for path in tokens if fold[path] != held]
        head = trained_head(
            np.concatenate([tokens[path] for path in paths]),
            np.concatenate([taught[path] for path in paths]),
            seed,
        )
        with torch.inference_mode():
            for path in tokens:
                if fold[path] == held:
                    answers[path] = head(torch.from_numpy(tokens[path])).sigmoid().numpy()
    return answers


def trained_head(tokens: np.ndarray, taught: np.ndarray, seed: int) -> nn.Module:
    """A network of one hidden layer: (n, D) tokens -> (n, G) logits."""
    torch.manual_seed(seed)
    inputs, targets = torch.from_numpy(tokens), torch.from_numpy(taught.clip(0, 1))
    last = nn.Linear(HIDDEN, targets.shape[1])
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, -4.0)  # most places look like nothing
    head = nn.Sequential(nn.Linear(inputs.shape[1], HIDDEN), nn.GELU(), nn.Dropout(DROPPED), last)
    optimiser = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=DECAY)
    steps = EPOCHS * -(-len(inputs) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for _ in range(EPOCHS):
        for part in torch.randperm(len(inputs)).split(BATCH):
            said = head(inputs[part])
            loss = F.binary_cross_entropy_with_logits(said, targets[part], reduction="none")
            optimiser.zero_grad()
            loss.sum(dim=1).mean().backward()
            optimiser.step()
            schedule.step()
    return head.eval()


def mixing(study: Study, learnt: Mapping[Path, np.ndarray]) -> Callable[[Case], Match]:
    """Decide with the answers of heads in the bundle's own evidence."""
    mixed: dict[Path, FrameAnalysis] = {}

    def change(analysis: FrameAnalysis, path: Path) -> FrameAnalysis:
        if path not in mixed:
            size = analysis.saliency.shape
            grid = analysis.token_grid
            maps = np.stack([resized(one.reshape(grid), size) for one in learnt[path].T])
            looks = mean_inside(analysis.proposals.masks, maps)
            mixed[path] = replace(
                analysis,
                groups=(1 - MIXED) * analysis.groups + MIXED * maps,
                looks=(1 - MIXED) * analysis.looks + MIXED * looks,
            )
        return mixed[path]

    return lambda case: study.decided(case, change)


# Adapters


def adapters(study: Study, seeds: int, config: TrainConfig) -> Iterator[tuple[str, dict]]:
    """Adapters by `fit`, scored where neither picture nor recording was trained on."""
    for regions in ("kmeans", "diffuse"):
        yield (
            f"{regions}, no adapter",
            study.scored(study.cases, lambda case, r=regions: study.decided(case, regions=r)),
        )
    for seed in range(seeds):
        trained: list[tuple[Adapter, list[Case]]] = []
        for fold in range(2):
            with tempfile.TemporaryDirectory() as name:
                scored, rows = split(study, fold, seed)
                run = replace(config, data=str(part_of(study, Path(name) / "data", rows)))
                for _ in fit(replace(run, seed=seed), Path(name) / "run"):
                    pass
                trained.append((Adapter.load(Path(name) / "run" / ADAPTER), scored))
            say(f"seed {seed}, fold {fold}: trained on {len(rows)} items")
        for regions in ("kmeans", "diffuse"):
            yield f"{regions}, adapter", joined(study, trained, regions)
    study.bundle.adapt(None)


def split(study: Study, fold: int, seed: int) -> tuple[list[Case], list[str]]:
    """The cases of half of the pictures, and the ids of all items that are apart from them."""
    of = study.folds(2, seed)
    scored = [case for case in study.cases if of[case.image_path] == fold]
    steps = index_items(study.root, "pairs", Choice())
    while True:
        try:
            next(steps)
        except StopIteration as end:
            items = end.value
            break
    pictures = {case.image_path for case in scored}
    # Sounds of this half aren't held back as well: they lie under most pictures.
    held = [place for place, item in enumerate(items) if item.image in pictures]
    apart = np.flatnonzero(items.apart_from(held))
    return scored, [items[int(place)].key for place in apart]


def part_of(study: Study, folder: Path, ids: Sequence[str]) -> Path:
    """A data set of some rows, whose files are links."""
    folder.mkdir(parents=True)
    rows = [study.rows[name] for name in ids]
    for name in {row[kind] for row in rows for kind in ("image", "audio")}:
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((study.root / name).resolve())
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return folder


def joined(
    study: Study, trained: Sequence[tuple[Adapter, Sequence[Case]]], regions: str
) -> dict[str, float]:
    """The scores of all folds together, each with its adapter."""
    found: dict[str, Match] = {}
    for adapter, cases in trained:
        study.bundle.adapt(adapter)
        for case in cases:
            heard = study.bundle.hear(study.waves[case.audio_path])
            found[case.id] = study.decided(case, heard=heard, regions=regions)
    study.bundle.adapt(None)
    return study.scored(study.cases, lambda case: found[case.id])


# The table


def say(text: str) -> None:
    """A line on stdout, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def told(rows: Sequence[tuple[str, Mapping[str, float]]]) -> list[str]:
    """Means and standard deviations of rows of one name, as lines of text."""
    lines = [f"{'':24}{'seeds':>6}" + "".join(f"{name:>16}" for name in (*SUBSETS, "right"))]
    for name in dict.fromkeys(name for name, _ in rows):
        own = [scores for other, scores in rows if other == name]
        cells = []
        for key in (*SUBSETS, "right"):
            values = [scores[key] for scores in own]
            spread = f" ({np.std(values, ddof=1):.3f})" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.3f}{spread}".rjust(16))
        lines.append(f"{name:24}{len(own):>6}" + "".join(cells))
    return lines


def main() -> int:
    """Do the parts that are asked for, and print a table of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, metavar="DATA", help="folder of layout pairs")
    parser.add_argument(
        "--out", type=Path, required=True, help="what was looked at, and the numbers"
    )
    parser.add_argument("--parts", nargs="+", default=["bounds", "heads", "adapter"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=60, help="of an adapter")
    parser.add_argument("--batch", type=int, default=4, help="of an adapter")
    parser.add_argument("--rate", type=float, default=3e-4, help="of an adapter")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    study = opened(args.data, args.out)
    config = TrainConfig(
        layout="pairs",
        iterations=args.iterations,
        batch=args.batch,
        lr=args.rate,
        warmup=args.iterations // 10,
        alignment=True,
        validation=0.0,
        save_every=args.iterations,
    )
    parts = {
        "bounds": lambda: bounds(study),
        "heads": lambda: heads(study, args.seeds),
        "adapter": lambda: adapters(study, args.seeds, config),
    }
    for name in args.parts:
        rows = []
        for row in parts[name]():
            rows.append(row)
            say(str(row))
        say("\n".join(["", name, *told(rows)]))
        (args.out / f"{name}.json").write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
