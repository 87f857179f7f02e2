"""Teach a trained part network close-ups: `python -m training.close_ups --data DATA --start W`.

Earlier trainings show parts at most 2.6 times as large as the photo allows, and a mirror fills a
photo at six to ten times. The last stage of the encoder, the decoder and the head learn from parts
that fill the input, of annotated photos and of photos that the old network labels as a whole. A
divergence to its answers for whole photos keeps what it knows, and weights are averaged with the
old ones (Wortsman et al. 2022). The same command resumes after any stop, even a kill.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from training.checks import check_parts
from training.close_up_crops import choose_cars, plan_close_ups
from training.corrections import DataError
from training.export import export_trained
from training.fit import Budget, FitOptions, Step, fit
from training.further import FurtherOptions, digest, read_command_line
from training.losses import hard_parts_loss, old_labels_loss, soft_parts_loss
from training.panel_crops import CAR, CropBatch, Crops, Views, decode, last_blocks, last_stage
from training.panels import ENCODER, HEAD, CropLesson, blended, count_labels
from training.parts_data import IGNORE
from training.photos import TrainingData
from training.precision import choose_device, mixed_precision
from training.stages import FIGURES, WEIGHTS, write_figures
from training.teacher_labels import SoftLabels, Teachers, ignore_missing, label_photos
from training.train import OtherOptionsError
from training.weights import CLASSES, PARTS, load_network, save_weights
from vision.labels import BACK_DOORS, PART_NAMES, QUARTER_PANELS
from vision.networks import PartNetwork

OUT = Path("runs/close-ups")
SEED = 18
IMPOSSIBLE = -1e4  # a logit whose probability is 0
NEAR, WHOLE = Views(1600, 1350, 600), Views(560, 480, 240)


@dataclass(frozen=True)
class Lesson:
    """The numbers of a training.

    Attributes:
        cars: photos without part labels whose parts are shown from near.
        near: numbers of close-ups.
        whole: numbers of whole photos.
        steps: length, in steps of eight crops.
        rate: peak learning rate of the head; that of the others is half of it.
        keep: weight of the divergence to the old network on whole photos.
        share: of the new weights in the result; the rest is the old network's.
    """

    cars: int = 1100
    near: Views = NEAR
    whole: Views = WHOLE
    steps: int = 1100
    rate: float = 1.5e-3
    keep: float = 16.0
    share: float = 0.8

    def scaled(self, factor: float) -> Lesson:
        """Return the lesson with other numbers of photos, crops and steps."""
        return replace(
            self,
            cars=max(8, round(self.cars * factor)),
            near=self.near.scaled(factor),
            whole=self.whole.scaled(factor),
            steps=max(1, round(self.steps * factor)),
        )


class MissingLabelsError(Exception):
    """The old network lacks labels; the message is for people."""


class CloseUpLine:
    """The steps from the old network to the new one.

    Raises:
        MissingLabelsError: the old network does not know all parts.
        OtherOptionsError: `options.out` was begun with other options.
    """

    def __init__(self, options: FurtherOptions, lesson: Lesson | None = None) -> None:
        self.options, self.lesson = options, (lesson or Lesson()).scaled(options.scale)
        if count_labels(options.start) != CLASSES:
            raise MissingLabelsError(
                f"{options.start} does not know all {len(PART_NAMES)} parts; see make panels"
            )
        options.remember({"lesson": asdict(self.lesson)})
        self.device = choose_device()

    @cached_property
    def old(self) -> PartNetwork:
        """The network that is taught."""
        network = load_network("pyramid", PARTS, self.options.start, self.device)
        assert isinstance(network, PartNetwork)
        return network

    @cached_property
    def data(self) -> TrainingData:
        """Pack and read all photos on first use; parts without annotation are ignored."""
        data = self.options.read_photos(self.device)
        train = data.annotated.of_part("train").tolist()
        lacking = np.array([i for i in train if data.annotated.rows[i].missing], np.int64)
        with torch.no_grad():
            labels = ignore_missing(data, [self.old], self.options.batch, lacking)
        return replace(data, labels=labels)

    @cached_property
    def soft(self) -> SoftLabels:
        """The old network's labels of whole photos of cars."""
        teachers = Teachers([self.old], [digest(self.options.start)])
        chosen = choose_cars(self.data, self.lesson.cars, SEED)
        folder = self.options.out / "labels"
        with torch.no_grad():
            return label_photos(self.data.cars, teachers, folder, self.options.batch, chosen)

    @cached_property
    def crops(self) -> Crops:
        """Make all crops on first use."""
        plan = plan_close_ups(self.data, self.soft, self.lesson.near, self.lesson.whole, SEED)
        name, folder = digest(self.options.start), self.options.out / "crops"
        crops = Crops(folder, self.data, self.old, plan.rows, name, SEED, plan.boxes)
        print(f"{len(plan.rows)} crops ...", flush=True)
        crops.make(len(plan.rows))
        return crops

    def run(self) -> None:
        """Run all steps that are not finished, and write the models folder."""
        taught, blend = self.options.out / "taught", self.options.out / "blend"
        if not (taught / WEIGHTS).exists():
            self._train(taught)
        if not (blend / FIGURES).exists():
            network = blended(taught / WEIGHTS, self.options.start, self.lesson.share)
            blend.mkdir(exist_ok=True)
            save_weights(network, blend / WEIGHTS)
            network.to(self.device)
            figures = check_parts(self.data, network, "val", self.options.batch)
            write_figures(figures, blend / FIGURES)
        export_trained("parts", blend / WEIGHTS, self.options.target)
        shutil.copy(blend / FIGURES, self.options.target / FIGURES)

    def _train(self, folder: Path) -> None:
        network: nn.Module = load_network("pyramid", PARTS, self.options.start, self.device)
        assert isinstance(network, PartNetwork)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(not name.startswith(ENCODER))
        for block in last_blocks(network):
            block.requires_grad_(True)
        batch = self.options.batch
        options = FitOptions(
            folder,
            Budget(self.lesson.steps * batch),
            self.lesson.rate,
            SEED,
            encoder_factor=0.5,
            is_encoder=lambda name: not name.startswith(HEAD),
            averaging=0.99,
        )
        lesson = CropLesson(self.crops, len(self.crops.plan), batch, self.soft)
        network = fit(network, close_ups_step(lesson, self.lesson.keep), options, self.device)
        save_weights(network, folder / WEIGHTS)
        (folder / "last.pt").unlink()


def close_ups_step(lesson: CropLesson, keep: float) -> Step:
    """Return the step that trains a network on crops; see `close_ups_loss`."""

    def step(network: nn.Module, rng: Generator) -> tuple[Tensor, int]:
        assert isinstance(network, PartNetwork)
        network.eval()  # batch norms keep their statistics, which the kept maps agree with
        batch, taught = lesson.draw(rng)
        with mixed_precision(batch.before.device):
            logits = decode(network, last_stage(network, batch.maps))
        return close_ups_loss(logits.float(), batch, taught, keep), len(batch.before)

    return step


def close_ups_loss(logits: Tensor, batch: CropBatch, taught: Tensor | None, keep: float) -> Tensor:
    """Return the loss: labels teach close-ups, and the old network's answers whole photos.

    Args:
        logits: (n, labels, h/4, w/4) float32.
        batch: the crops.
        taught: a teacher's probabilities, of the shape of the logits; needed for close-ups of cars.
        keep: weight of the divergence to the old network.
    """
    loss = logits.new_zeros(())
    near, car = torch.from_numpy(batch.close), torch.from_numpy(batch.kinds == CAR)
    hard, soft, whole = (each.to(logits.device) for each in (near & ~car, near & car, ~near))
    if hard.any():
        loss = loss + hard_parts_loss(logits[hard], batch.labels[hard])
    if soft.any():
        assert taught is not None
        loss = loss + soft_parts_loss(logits[soft], taught[soft])
    if whole.any():
        ignored = torch.full_like(batch.labels[whole], IGNORE)  # every cell counts
        before = without_back_doors(batch.before, batch.two_doors)
        loss = loss + keep * old_labels_loss(logits[whole], before[whole], ignored)
    return loss


def without_back_doors(logits: Tensor, two_doors: NDArray[np.bool_]) -> Tensor:
    """Return logits whose back doors belong to the quarter panels in cars with two side doors.

    Soft labels have the same rule, see `teacher_labels.apply_facts`.

    Args:
        logits: (n, labels, h, w) of a network that knows all parts.
        two_doors: (n,) true for the cars with two side doors.
    """
    changed = logits.clone()
    chosen = torch.from_numpy(two_doors).to(logits.device)
    own = changed[chosen]
    for door, panel in zip(BACK_DOORS, QUARTER_PANELS, strict=True):
        own[:, panel] = torch.logaddexp(own[:, panel], own[:, door])
        own[:, door] = IMPOSSIBLE
    changed[chosen] = own
    return changed


def main() -> None:
    """Read the command line and train."""
    options = read_command_line(__doc__, OUT)
    try:
        CloseUpLine(options).run()
    except (MissingLabelsError, OtherOptionsError, DataError) as error:
        sys.exit(str(error))
    print(f"The network that knows close-ups is in {options.target}.")


if __name__ == "__main__":
    main()
