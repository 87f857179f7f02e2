"""Build the clients as packages that are ready to publish; `make client` calls it.

The folder given gets `carseg_client-*.whl` and `carseg_client-*.tar.gz` for PyPI, and
`carseg-client-*.tgz` for npm if npm is installed. The sources of the packages stay in its folders
`python` and `javascript`. Nothing is published.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

_IMPORT, _PACKAGE_IMPORT = "\nfrom options import ", "\nfrom carseg_client.options import "
_JAVASCRIPT = ("carseg.js", "carseg.d.ts", "carseg_many.js", "carseg_many.d.ts")


def prepare_python(folder: Path) -> None:
    """Write the sources of the Python package into an empty folder.

    Raises:
        ValueError: `client.py` does not import `options.py` as expected.
    """
    _copy_frame("python", folder)
    package = folder / "carseg_client"
    package.mkdir()
    code = (REPOSITORY / "client.py").read_text(encoding="utf-8")
    if code.count(_IMPORT) != 1:
        raise ValueError("client.py must have one import from options")
    code = code.replace(_IMPORT, _PACKAGE_IMPORT)
    code = code.replace(
        "with this file, `options.py` and `pip install requests`.", "typed, and with retries."
    ).replace("from client import", "from carseg_client import")
    (package / "__init__.py").write_text(code, encoding="utf-8")
    shutil.copy(REPOSITORY / "options.py", package)
    (package / "py.typed").touch()


def prepare_javascript(folder: Path) -> None:
    """Write the sources of the JavaScript package into an empty folder."""
    _copy_frame("javascript", folder)
    for name in _JAVASCRIPT:
        shutil.copy(REPOSITORY / "web" / name, folder)


def main() -> int:
    """Build both packages, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder for the packages; emptied first")
    out = parser.parse_args().out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    prepare_python(out / "python")
    prepare_javascript(out / "javascript")
    uv = (sys.executable, "-m", "uv", "build", "--quiet", "--python", sys.executable)
    commands = [[*uv, "--out-dir", str(out), str(out / "python")]]
    npm = shutil.which("npm")
    if npm is None:
        print(f"npm is not installed: run npm pack in {out / 'javascript'}")
    else:
        commands.append([npm, "pack", "--silent", "--pack-destination", str(out)])
    for command in commands:
        subprocess.run(command, cwd=out / "javascript", check=True)  # noqa: S603 (constants)
    (out / ".gitignore").unlink(missing_ok=True)  # uv writes one
    for package in sorted(path for path in out.iterdir() if path.is_file()):
        print(package)
    return 0


def _copy_frame(name: str, folder: Path) -> None:
    """Copy the description of a package, and the licence."""
    shutil.copytree(Path(__file__).with_name(name), folder)
    shutil.copy(REPOSITORY / "LICENSE", folder)


if __name__ == "__main__":
    sys.exit(main())
