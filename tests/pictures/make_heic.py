"""Write the HEIC files of this folder: `python tests/pictures/make_heic.py`.

It needs pillow-heif, whose encoder is under the GPL, in an environment of its own:
`pip install pillow-heif==1.8.1`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image

FOLDER = Path(__file__).resolve().parent
CAR = Image.open(FOLDER.parents[1] / "sample" / "car.png").convert("RGB")


def main() -> None:
    """Write all files."""
    pillow_heif.register_heif_opener()
    small = CAR.resize((96, 64))
    small.save(FOLDER / "car.heic", quality=70)
    CAR.resize((61, 41)).save(FOLDER / "odd.heic", quality=70)
    small.convert("L").save(FOLDER / "grey.heic", quality=70)
    alpha = Image.new("L", small.size, 255)
    alpha.paste(0, (48, 0, 96, 64))
    small.putalpha(alpha)
    small.save(FOLDER / "alpha.heic", quality=70)
    deep = np.asarray(small.convert("RGB")).astype(np.uint16) * 257
    picture = pillow_heif.from_bytes("RGB;16", small.size, deep.tobytes())
    picture.save(FOLDER / "ten_bits.heic", quality=70, chroma=444)
    square = CAR.resize((128, 128))
    corners = [(0, 0), (64, 0), (0, 64), (64, 64)]
    tiles = [square.crop((x, y, x + 64, y + 64)) for x, y in corners]
    tiles[0].save(FOLDER / "tiles.heic", save_all=True, append_images=tiles[1:], quality=70)
    Image.new("RGB", (512, 512), (90, 120, 150)).save(FOLDER / "flat.heic", quality=10)


if __name__ == "__main__":
    main()
