"""Kill the service at random moments while clients post: `python -m benchmarks.kills --rounds 100`.

Prints how many accepted photos were lost, wrong or duplicated.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.support.kills import run


def main() -> None:
    """Run and print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = run(arguments.rounds, Path(folder) / "data", arguments.seed)
    for name, value in vars(report).items():
        print(f"{name:26s} {value}")


if __name__ == "__main__":
    main()
