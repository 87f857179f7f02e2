"""Teach a trained part network further labels: `python -m training.panels --data DATA --start W`.

The encoder of the old network stays as it is. Its decoder and head learn from crops that
`training.panel_crops` keeps on disk. A divergence to the old network's answers keeps the old
labels, and weights are averaged with the old ones (Wortsman et al. 2022). The same command resumes
after any stop, even a kill.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch
from numpy.random import Generator
from safetensors import safe_open
from torch import Tensor, nn

from training.checks import check_parts
from training.corrections import DataError
from training.export import export_trained
from training.fit import Budget, FitOptions, Step, fit
from training.further import FurtherOptions, digest, read_command_line
from training.losses import (
    hard_parts_loss,
    new_labels_loss,
    old_labels_loss,
    taught_new_labels_loss,
)
from training.panel_crops import CAR, CropBatch, Crops, Views, decode, plan_crops
from training.parts_training import warped_soft_labels
from training.photos import TrainingData
from training.precision import choose_device, mixed_precision
from training.stages import FIGURES, WEIGHTS, write_figures
from training.teacher_labels import SoftLabels, Teachers, label_photos
from training.train import OtherOptionsError
from training.weights import CLASSES, PARTS, load_network, load_weights, save_weights
from vision.labels import PART_NAMES
from vision.networks import PartNetwork, build_network

OUT = Path("runs/panels")
OLD = "old"  # the network that is taught
SHARE = 0.85  # of the last round's weights in the result; the rest is the old network's
TAUGHT = 0.5  # weight of a teacher's new labels
ENCODER, HEAD = "encoder.", "head."
SEED = 14


class NothingNewError(Exception):
    """The network cannot learn further labels; the message is for people."""


@dataclass(frozen=True)
class Round:
    """A training of decoder and head.

    Attributes:
        name: of the round and of its folder.
        start: round whose weights it starts from, or OLD.
        share: of these weights; the rest is the old network's.
        steps: length, in steps of eight crops.
        rate: peak learning rate of the head; the decoder's is half of it.
        keep: weight of the divergence to the old network.
        sets: number of sets of crops, see `SETS`.
        head_only: true to leave the decoder as it is.
        new_only: true if annotations teach new labels alone; the old network teaches the others.
        teacher: round that labels the photos without part labels; None to do without.
    """

    name: str
    start: str
    share: float
    steps: int
    rate: float
    keep: float
    sets: int
    head_only: bool = False
    new_only: bool = False
    teacher: str | None = None


# The seven body panels of the network in `models/` were taught by these numbers.
SETS = (Views(1382, 227, 63), Views(834, 798, 120))
# fmt: off
ROUNDS = (
    #     name      start    share  steps  rate    keep  sets
    Round("head",   OLD,     1.0,      40, 1.5e-2, 2.0,  1, head_only=True),
    Round("first",  "head",  1.0,     789, 3e-3,   2.0,  1),
    Round("second", "first", 0.8,     450, 8e-4,   8.0,  2, new_only=True, teacher="first"),
)
# fmt: on


class PanelLine:
    """The rounds that have crops and an old network in common.

    Raises:
        NothingNewError: the old network has all labels.
        OtherOptionsError: `options.out` was begun with other options.
    """

    def __init__(self, options: FurtherOptions) -> None:
        self.options = options
        self.known = count_labels(options.start)
        if self.known >= CLASSES:
            raise NothingNewError(
                f"{options.start} has all {len(PART_NAMES)} parts; give weights with fewer"
            )
        options.remember({"rounds": [asdict(each) for each in ROUNDS]})
        self.device = choose_device()

    @cached_property
    def data(self) -> TrainingData:
        """Return all photos, packed and read on first use."""
        return self.options.read_photos(self.device)

    @cached_property
    def crops(self) -> Crops:
        """The crops, which are made as far as a round needs them."""
        old = load_network(
            "pyramid", PARTS | {"classes": self.known}, self.options.start, self.device
        )
        assert isinstance(old, PartNetwork)
        plan = plan_crops(self.data, self._sets(), SEED)
        name = digest(self.options.start)
        return Crops(self.options.out / "crops", self.data, old, plan, name, SEED)

    def _sets(self) -> list[Views]:
        return [views.scaled(self.options.scale) for views in SETS]

    def weights(self, name: str) -> Path:
        """Return the file of a round's weights."""
        return self.options.start if name == OLD else self.options.out / name / WEIGHTS

    def run(self) -> None:
        """Run all rounds that are not finished, and write the models folder."""
        for each in ROUNDS:
            if not (self.options.out / each.name / FIGURES).exists():
                print(f"{each.name} ...", flush=True)
                self._check(self._train(each), each.name)
        blend = self.options.out / "blend"
        if not (blend / FIGURES).exists():
            network = blended(self.weights(ROUNDS[-1].name), self.options.start, SHARE)
            blend.mkdir(exist_ok=True)
            save_weights(network, blend / WEIGHTS)
            self._check(network, blend.name)
        export_trained("parts", blend / WEIGHTS, self.options.target)
        shutil.copy(blend / FIGURES, self.options.target / FIGURES)

    def _train(self, each: Round) -> nn.Module:
        """Return the network of a round, which is trained unless its weights are there."""
        path = self.weights(each.name)
        if path.exists():
            return load_network("pyramid", PARTS, path, self.device)
        end = self._end(each.sets)
        self.crops.make(end)
        soft = self._soft_labels(each.teacher, end) if each.teacher else None
        network: nn.Module = blended(self.weights(each.start), self.options.start, each.share)
        for name, parameter in network.named_parameters():
            is_decoder = not name.startswith((ENCODER, HEAD))
            learns = name.startswith(HEAD) or (is_decoder and not each.head_only)
            parameter.requires_grad_(learns)
        steps = max(1, round(each.steps * self.options.scale))
        options = FitOptions(
            path.parent,
            Budget(steps * self.options.batch),
            each.rate,
            SEED,
            encoder_factor=0.5,
            is_encoder=lambda name: not name.startswith(HEAD),
            averaging=0.99,
        )
        step = panels_step(CropLesson(self.crops, end, self.options.batch, soft), each)
        network = fit(network, step, options, self.device)
        save_weights(network, path)
        (path.parent / "last.pt").unlink()
        return network

    def _end(self, sets: int) -> int:
        """Return the number of crops of the first sets."""
        counts = [v.annotated + v.cars + v.empty for v in self._sets()]
        return min(sum(counts[:sets]), len(self.crops.plan))

    @torch.no_grad()
    def _soft_labels(self, teacher: str, end: int) -> SoftLabels:
        weights = self.weights(teacher)
        network = load_network("pyramid", PARTS, weights, self.device)
        folder, only = self.options.out / "labels", self.crops.cars(end)
        teachers = Teachers([network], [digest(weights)])
        return label_photos(self.data.cars, teachers, folder, self.options.batch, only)

    def _check(self, network: nn.Module, name: str) -> None:
        network.to(self.device)
        figures = check_parts(self.data, network, "val", self.options.batch)
        write_figures(figures, self.options.out / name / FIGURES)
        shown = [f"{key} {figures[key]:.4f}" for key in ("miou", "miou_panels") if key in figures]
        print(f"{name}: {', '.join(shown)}", flush=True)


@dataclass(frozen=True)
class CropLesson:
    """The crops that a round draws from.

    Attributes:
        crops: all crops.
        end: number of those that are made.
        batch: crops per step.
        soft: a teacher's labels of the photos without part labels, or None.
    """

    crops: Crops
    end: int
    batch: int
    soft: SoftLabels | None

    def draw(self, rng: Generator) -> tuple[CropBatch, Tensor | None]:
        """Return crops, and a teacher's probabilities (n, labels, h/4, w/4), zeros for others."""
        batch = self.crops.read(rng.integers(0, self.end, self.batch))
        if self.soft is None:
            return batch, None
        height, width = batch.before.shape[2:]
        taught = batch.before.new_zeros((self.batch, CLASSES, height, width))
        cars = batch.kinds == CAR
        if cars.any():
            side, photos = self.soft.side, batch.photos[cars]
            maps = self.soft.maps.read(photos).view(len(photos), CLASSES, side, side)
            sizes = self.crops.car_sizes(photos)
            place = torch.from_numpy(cars).to(taught.device)
            warps, mirrored = batch.warps[cars], batch.mirrored[cars]
            taught[place] = warped_soft_labels(maps, sizes, warps, mirrored)
        return batch, taught


def panels_step(lesson: CropLesson, each: Round) -> Step:
    """Return the step that trains decoder and head on crops."""

    def step(network: nn.Module, rng: Generator) -> tuple[Tensor, int]:
        assert isinstance(network, PartNetwork)
        network.eval()  # batch norms keep their statistics, which the frozen maps agree with
        batch, taught = lesson.draw(rng)
        with mixed_precision(batch.before.device):
            logits = decode(network, batch.maps)
        return round_loss(logits.float(), batch, taught, each), len(batch.before)

    return step


def round_loss(logits: Tensor, batch: CropBatch, taught: Tensor | None, each: Round) -> Tensor:
    """Return the loss of a round.

    Args:
        logits: (n, labels, h/4, w/4) float32.
        batch: the crops.
        taught: a teacher's probabilities, of the shape of the logits, or None.
        each: has the weights.
    """
    if each.new_only:
        loss = new_labels_loss(logits, batch.labels, batch.before.shape[1])
    else:
        loss = hard_parts_loss(logits, batch.labels)
    loss = loss + each.keep * old_labels_loss(logits, batch.before, batch.labels)
    if taught is not None:
        loss = loss + TAUGHT * taught_new_labels_loss(logits, taught, batch.before)
    return loss


@torch.no_grad()
def blended(new: Path, old: Path, share: float) -> PartNetwork:
    """Return a network with the weights between an old and a new one.

    The new labels' rows of the head, which the old network lacks, are the new one's.

    Args:
        new: weights of any number of labels.
        old: weights of as many labels, or fewer.
        share: of the new ones, 0 to 1.
    """
    known, networks = count_labels(old), []
    for path in (new, old):
        network = build_network("pyramid", PARTS)
        load_weights(network, path)
        networks.append(network)
    theirs = networks[1].state_dict()
    for name, value in networks[0].state_dict().items():
        if value.is_floating_point():
            shared = value[:known] if name.startswith(HEAD) else value
            shared.lerp_(theirs[name][: len(shared)] if shared.ndim else theirs[name], 1 - share)
    result = networks[0].eval()
    assert isinstance(result, PartNetwork)
    return result


def count_labels(weights: Path) -> int:
    """Return the number of labels of a part network, background included."""
    with safe_open(weights, framework="pt") as file:
        return int(file.get_slice(f"{HEAD}weight").get_shape()[0])


def main() -> None:
    """Read the command line and train."""
    options = read_command_line(__doc__, OUT)
    try:
        PanelLine(options).run()
    except (NothingNewError, OtherOptionsError, DataError) as error:
        sys.exit(str(error))
    print(f"The network with {len(PART_NAMES)} parts is in {options.target}.")


if __name__ == "__main__":
    main()
