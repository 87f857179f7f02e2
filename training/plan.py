"""List the trainings that make the networks in `models/`, from ImageNet weights on.

The budget of a training is its `seconds` on a GPU, and its `samples` on CPUs. Both are equal at the
speed of one H200: 780 photos a second for the parts, 3,600 for the types, 35,000 layouts, 820 for
the damage.
"""

from __future__ import annotations

from dataclasses import dataclass

IMAGENET = "imagenet"


@dataclass(frozen=True)
class PartsStage:
    """A training of the part network.

    Attributes:
        name: of the stage and of its folder.
        start: stage whose weights it starts from, or IMAGENET.
        teachers: stages that label the photos without part labels; none for annotated photos only.
        samples, seconds: length.
        rate: peak learning rate.
        looks: input sizes that the teachers see.
        close_ups: share of photos that are cut to a part of the car.
        seed: of all random numbers.
    """

    name: str
    start: str
    teachers: tuple[str, ...]
    samples: int
    seconds: float
    rate: float
    looks: int = 1
    close_ups: float = 0.15
    seed: int = 0


@dataclass(frozen=True)
class TypesStage:
    """A training of the type network.

    Attributes:
        name: of the stage and of its folder.
        start: stage whose weights it starts from, or IMAGENET.
        parts: part stage that finds the cars in street photos.
        teacher: stage that tells the types of street photos without one; None to leave them out.
        samples, seconds: length.
        rate: peak learning rate.
        seed: of all random numbers.
    """

    name: str
    start: str
    parts: str
    teacher: str | None
    samples: int
    seconds: float
    rate: float
    seed: int = 0


@dataclass(frozen=True)
class ChooseStage:
    """A choice of the part network with the best mIoU on the calibration photos.

    Attributes:
        name: of the stage and of its folder, which gets the weights of the best one.
        candidates: part stages; of equal ones the last is taken.
    """

    name: str
    candidates: tuple[str, ...]


@dataclass(frozen=True)
class LayoutStage:
    """A training of the layout network.

    Attributes:
        name: of the stage and of its folder.
        parts: stage whose part network sees the layouts.
        samples, seconds: length.
        rate: peak learning rate.
        seed: of all random numbers.
    """

    name: str
    parts: str
    samples: int
    seconds: float
    rate: float
    seed: int = 0


@dataclass(frozen=True)
class DamageStage:
    """A training of the damage network.

    Attributes:
        name: of the stage and of its folder.
        start: part stage whose weights it starts from, or the damage stage that is trained further.
        samples, seconds: length.
        rate: peak learning rate.
        further: train the network of `start` further, mostly with undamaged cars in which it finds
            damage.
        seed: of all random numbers.
    """

    name: str
    start: str
    samples: int
    seconds: float
    rate: float
    further: bool = False
    seed: int = 0


Stage = PartsStage | TypesStage | ChooseStage | LayoutStage | DamageStage

# fmt: off
PLAN: tuple[Stage, ...] = (
    #          name        start       teachers                   samples  seconds rate
    PartsStage("teacher",  IMAGENET,   (),                         43_000,  55, 3e-3, seed=1),
    PartsStage("student1", "teacher",  ("teacher",),               66_000,  85, 2e-3, seed=3),
    PartsStage("student2", "student1", ("student1",),             113_000, 145, 1.5e-3, seed=4),
    PartsStage("student3", "student2", ("student1", "student2"),  156_000, 200, 1e-3, looks=2,
               close_ups=0.22, seed=6),
    ChooseStage("parts",   ("student2", "student3")),
    #          name        start       parts       teacher       samples  seconds rate
    TypesStage("types1",   IMAGENET,   "student3", None,         198_000,  55, 3e-3, seed=1),
    TypesStage("types",    "types1",   "student3", "types1",     468_000, 130, 2e-3, seed=7),
    #           name       parts                               samples  seconds rate
    LayoutStage("layout",  "parts",                          1_400_000,  40, 3e-3, seed=8),
    #           name       start                               samples  seconds rate
    DamageStage("damage1", "student3",                         82_000, 100, 2e-3, seed=2),
    DamageStage("damage",  "damage1",                          24_600,  30, 2e-4, further=True,
                seed=9),
)
# fmt: on
