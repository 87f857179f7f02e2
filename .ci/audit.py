"""Look up known vulnerabilities of all that is ever installed to serve, on PyPI.

Ends with status 1 if there is one that is not explained below. Where PyPI can't be asked, that is
said, and the status is 0: the network is no fault of a change.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

LOCKS = sorted(Path(__file__).resolve().parent.parent.glob("requirements/*.lock"))

# Identifier -> why it does not concern the service.
EXPLAINED: dict[str, str] = {}


def main() -> int:
    """Return the exit status."""
    options = ["--disable-pip", "--format", "json", "--progress-spinner", "off"]
    options += [f"--requirement={lock}" for lock in LOCKS]
    done = subprocess.run(  # noqa: S603 - all arguments are constants
        [sys.executable, "-m", "pip_audit", *options],
        capture_output=True,
        text=True,
    )
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"NOT AUDITED: PyPI could not be asked.\n{done.stderr[-500:]}", file=sys.stderr)
        return 0
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped:
        names = ", ".join(skipped)
        print(f"NOT AUDITED, PyPI has no answer: {len(skipped)} of {len(packages)}: {names}")
    found = [
        f"{package['name']} {package['version']}: {flaw['id']}, fixed in {flaw['fix_versions']}"
        for package in packages
        for flaw in package.get("vulns", ())
        if not {flaw["id"], *flaw["aliases"]} & set(EXPLAINED)
    ]
    if len(packages) > len(skipped):
        print("\n".join(found) or f"{len(packages) - len(skipped)} packages: no known flaw.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
