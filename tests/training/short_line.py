"""Run `make train` with one student instead of three: `python -m tests.training.short_line`."""

from __future__ import annotations

from training.plan import (
    PLAN,
    ChooseStage,
    DamageStage,
    LayoutStage,
    PartsStage,
    Stage,
    TypesStage,
)
from training.train import main

SHORT: tuple[Stage, ...] = (
    PLAN[0],
    PartsStage("student", "teacher", ("teacher",), 1000, 1, 2e-3, looks=2),
    ChooseStage("parts", ("teacher", "student")),
    TypesStage("types1", "imagenet", "student", None, 1000, 1, 3e-3),
    TypesStage("types", "types1", "student", "types1", 1000, 1, 2e-3),
    LayoutStage("layout", "parts", 1000, 1, 3e-3),
    DamageStage("damage1", "student", 1000, 1, 2e-3),
    DamageStage("damage", "damage1", 1000, 1, 2e-4, further=True),
)

if __name__ == "__main__":
    main(SHORT)
