"""Run the stages of the plan; each leaves its weights and figures in a folder."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from training.checks import Figures, check_layout, check_parts, check_types
from training.choose import best_of
from training.damage_training import (
    DamageBatches,
    check_damage,
    damage_step,
    further_damage_step,
)
from training.fit import Budget, FitOptions, Step, fit
from training.imagenet import load_imagenet
from training.layout_training import LayoutBatches, layout_step
from training.layouts import see_layouts
from training.parts_training import PartsBatches, PartsMix, parts_step
from training.photos import TrainingData, read_packs
from training.plan import (
    IMAGENET,
    ChooseStage,
    DamageStage,
    LayoutStage,
    PartsStage,
    Stage,
    TypesStage,
)
from training.precision import choose_device
from training.teacher_labels import (
    SoftLabels,
    Teachers,
    find_street_cars,
    ignore_missing,
    label_photos,
)
from training.types_photos import CarPhotos, list_cars, list_untyped, taught
from training.types_training import TypesBatches, type_logits, types_step
from training.undamaged import mine
from training.weights import (
    DAMAGE,
    LAYOUT,
    PARTS,
    TYPES,
    load_body,
    load_network,
    load_weights,
    save_weights,
)
from vision.networks import build_network

WEIGHTS, FIGURES = "weights.safetensors", "figures.json"
_DROP = {"drop_rate": 0.3, "drop_path_rate": 0.2}  # of the type network in training


@dataclass(frozen=True)
class Batches:
    """Samples per step of the three networks."""

    parts: int
    types: int
    layouts: int


ON_GPU, ON_CPU = Batches(64, 192, 1024), Batches(8, 32, 256)


@dataclass(frozen=True)
class Scale:
    """The lengths of the trainings relative to the plan.

    Attributes:
        budget: factor on all budgets.
        photos: maximum number of photos of each kind; None for all.
        batches: samples per step; None for those that suit the device.
        checkpoint: seconds between two checkpoints of a training.
    """

    budget: float = 1.0
    photos: int | None = None
    batches: Batches | None = None
    checkpoint: float = 120.0


class Line:
    """The stages that have packs and weights in common.

    Args:
        packs: folder of the packs, see `training.pack`.
        out: folder of all stages.
        scale: see `Scale`.
    """

    def __init__(self, packs: Path, out: Path, scale: Scale) -> None:
        self.packs, self.out, self.scale = packs, out, scale
        self.device = choose_device()
        self.batches = scale.batches or (ON_GPU if self.device.type == "cuda" else ON_CPU)

    @cached_property
    def data(self) -> TrainingData:
        """Return all packed photos, read on first use."""
        started = time.monotonic()
        data = read_packs(self.packs, self.device, self.scale.photos)
        counts = (len(photos) for photos in (data.annotated, data.cars, data.empty))
        annotated, cars, empty = counts
        print(
            f"{annotated} annotated photos, {cars} others of cars, {empty} without a car, "
            f"{time.monotonic() - started:.0f} s",
            flush=True,
        )
        return data

    def weights(self, stage: str) -> Path:
        """Return the file of a stage's weights."""
        return self.out / stage / WEIGHTS

    def is_done(self, stage: Stage) -> bool:
        """Return True if a stage has left its weights and figures."""
        return (self.out / stage.name / FIGURES).exists()

    def run(self, stage: Stage) -> Figures:
        """Run a stage, or go on where it was cut off, and return its figures."""
        (self.out / stage.name).mkdir(parents=True, exist_ok=True)
        if isinstance(stage, PartsStage):
            figures = self._parts(stage)
        elif isinstance(stage, TypesStage):
            figures = self._types(stage)
        elif isinstance(stage, ChooseStage):
            figures = self._choose(stage)
        elif isinstance(stage, DamageStage):
            figures = self._further_damage(stage) if stage.further else self._damage(stage)
        else:
            figures = self._layout(stage)
        write_figures(figures, self.out / stage.name / FIGURES)
        return figures

    def _parts(self, stage: PartsStage) -> Figures:
        batch = self.batches.parts

        def train() -> nn.Module:
            data, labels, soft = self.data, self.data.labels, None
            if stage.teachers:
                soft = self._soft_labels(stage.teachers, stage.looks)
                labels = ignore_missing(data, self._networks(stage.teachers), batch)
            network = build_network("pyramid", PARTS)
            self._start(network, stage.start, PARTS["backbone"])
            mix = PartsMix(batch, stage.close_ups)
            step = parts_step(PartsBatches(data, labels, soft, mix))
            return self._fit(network, step, stage, 0.4, lambda name: name.startswith("encoder."))

        network = self._trained(stage.name, train) or self._part_network(stage.name)
        return check_parts(self.data, network, "val", batch)

    def _types(self, stage: TypesStage) -> Figures:
        parts = self._part_network(stage.parts)

        def train() -> nn.Module:
            cars = self._cars(stage, parts)
            network = build_network("classifier", TYPES | _DROP)
            self._start(network, stage.start, TYPES["model_name"])
            step = types_step(TypesBatches(self.data, cars, self.batches.types))
            fresh = "classifier."
            return self._fit(network, step, stage, 0.35, lambda name: not name.startswith(fresh))

        network = self._trained(stage.name, train) or self._type_network(stage.name)
        batches = self.batches.parts, self.batches.types
        return check_types(self.data, network, parts, batches)

    def _choose(self, stage: ChooseStage) -> Figures:
        scores = {}
        for name in stage.candidates:
            network = self._part_network(name)
            figures = check_parts(self.data, network, "calibration", self.batches.parts)
            scores[name] = figures["miou"]
        best = best_of(scores)
        shutil.copy(self.weights(best), self.weights(stage.name))
        print(f"{stage.name}: {best}", flush=True)
        return scores

    def _layout(self, stage: LayoutStage) -> Figures:
        layouts = see_layouts(
            self.data,
            self._part_network(stage.parts),
            self._digest(stage.parts),
            self.out / stage.name / "layouts",
            self.batches.parts,
        )

        def train() -> nn.Module:
            network = build_network("shape", LAYOUT | {"drop_rate": 0.4})
            for module in network.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            step = layout_step(LayoutBatches(layouts, self.batches.layouts))
            return self._fit(network, step, stage)

        network = self._trained(stage.name, train)
        if network is None:
            network = load_network("shape", LAYOUT, self.weights(stage.name), self.device)
        return check_layout(layouts, network, self.batches.layouts)

    def _damage(self, stage: DamageStage) -> Figures:
        batch = self.batches.parts

        def train() -> nn.Module:
            network = build_network("pyramid", DAMAGE)
            load_body(network, self.weights(stage.start))
            step = damage_step(DamageBatches(self.data, batch))
            return self._fit(network, step, stage, 0.4, lambda name: name.startswith("encoder."))

        network = self._trained(stage.name, train) or self._damage_network(stage.name)
        return check_damage(self.data, network, batch)

    def _further_damage(self, stage: DamageStage) -> Figures:
        batch = self.batches.parts

        def train() -> nn.Module:
            network = self._damage_network(stage.start)
            folder = self.out / stage.name / "mined"
            mined = mine(self.data, network, self._digest(stage.start), folder, batch)
            step = further_damage_step(DamageBatches(self.data, batch, mined))
            return self._fit(
                network, step, stage, 0.5, lambda name: name.startswith("encoder."), 0.998
            )

        network = self._trained(stage.name, train) or self._damage_network(stage.name)
        return check_damage(self.data, network, batch)

    def _trained(self, name: str, train: Callable[[], nn.Module]) -> nn.Module | None:
        """Train, save the weights and return the network; None if the weights are there."""
        if self.weights(name).exists():
            return None
        network = train()
        save_weights(network, self.weights(name))
        (self.out / name / "last.pt").unlink()
        return network

    def _fit(
        self,
        network: nn.Module,
        step: Step,
        stage: PartsStage | TypesStage | LayoutStage | DamageStage,
        encoder_factor: float = 1.0,
        is_encoder: Callable[[str], bool] = lambda name: False,
        averaging: float = FitOptions.averaging,
    ) -> nn.Module:
        by_time = self.device.type == "cuda"
        budget = Budget(
            max(1, round(stage.samples * self.scale.budget)),
            stage.seconds * self.scale.budget if by_time else None,
        )
        options = FitOptions(
            self.out / stage.name,
            budget,
            stage.rate,
            stage.seed,
            encoder_factor,
            is_encoder,
            self.scale.checkpoint,
            averaging,
        )
        return fit(network, step, options, self.device)

    def _start(self, network: nn.Module, start: str, backbone: str) -> None:
        if start == IMAGENET:
            load_imagenet(network, backbone, self.packs)
        else:
            load_weights(network, self.weights(start))

    def _part_network(self, stage: str) -> nn.Module:
        return load_network("pyramid", PARTS, self.weights(stage), self.device)

    def _type_network(self, stage: str) -> nn.Module:
        return load_network("classifier", TYPES, self.weights(stage), self.device)

    def _damage_network(self, stage: str) -> nn.Module:
        return load_network("pyramid", DAMAGE, self.weights(stage), self.device)

    def _networks(self, stages: tuple[str, ...]) -> list[nn.Module]:
        return [self._part_network(name) for name in stages]

    def _soft_labels(self, teachers: tuple[str, ...], looks: int) -> SoftLabels:
        """Return the labels by part stages; the folder keeps the last ones that were made."""
        digests = [self._digest(name) for name in teachers]
        named = Teachers(self._networks(teachers), digests, looks)
        with torch.no_grad():
            return label_photos(self.data.cars, named, self.out / "labels", self.batches.parts)

    def _digest(self, stage: str) -> str:
        """Return the SHA-256 (hex) of a stage's weights."""
        return hashlib.sha256(self.weights(stage).read_bytes()).hexdigest()

    @torch.no_grad()
    def _cars(self, stage: TypesStage, parts: nn.Module) -> CarPhotos:
        """Return the cars that a type network learns from."""
        found = find_street_cars(self.data.cars, "train", parts, self.batches.parts)
        cars = list_cars(self.data, found, "train")
        if stage.teacher is not None:
            untyped = list_untyped(self.data, found)
            teacher, batch = self._type_network(stage.teacher), self.batches.types
            logits = [
                type_logits(self.data, untyped, teacher, batch, mirrored)
                for mirrored in (False, True)
            ]
            chances = sum(each[:, :-1].softmax(1) for each in logits) / 2
            assert isinstance(chances, torch.Tensor)
            cars = cars.joined(taught(untyped, chances))
        return cars


def write_figures(figures: Figures, path: Path) -> None:
    """Write figures as a JSON object, without NaN values, atomically."""
    known = {name: round(value, 4) for name, value in figures.items() if not math.isnan(value)}
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    fresh.replace(path)
