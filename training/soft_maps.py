"""Store the label probabilities of many maps: the few most probable labels of each cell.

All probabilities of 15,000 maps of 96 x 96 cells would take 5 GB in bytes. What lies below the
fourth label of a cell teaches nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.photos import Indices

KEPT = 4  # labels of each cell


class SoftMaps:
    """Label probabilities of maps with the same number of cells, in two files of a folder.

    Args:
        folder: is created if it is missing; files that it holds are continued.
        count: number of maps.
        cells: cells of each map.
        classes: number of labels, background included.
        device: on which maps are returned.
    """

    def __init__(
        self, folder: Path, count: int, cells: int, classes: int, device: torch.device
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.classes, self._device = classes, device
        shape = (count, KEPT, cells)
        self._files = [_open(folder / name, shape) for name in ("labels.bin", "values.bin")]
        self._resident: list[Tensor] | None = None

    def write(self, indices: Indices, probabilities: Tensor) -> None:
        """Write maps (n, classes, ...), 0 to 1."""
        values, labels = probabilities.flatten(2).topk(min(KEPT, self.classes), dim=1)
        content = (labels.to(torch.uint8), (values * 255).round().to(torch.uint8))
        for file, tensor in zip(self._files, content, strict=True):
            file[indices, : tensor.shape[1]] = tensor.cpu().numpy()

    def flush(self) -> None:
        """Write everything to the disk."""
        for file in self._files:
            file.flush()

    def load(self) -> None:
        """Copy all maps to the memory of a GPU; on CPUs they are read from the files."""
        if self._device.type == "cuda":
            self._resident = [torch.from_numpy(file[:]).to(self._device) for file in self._files]

    def read(self, indices: Indices) -> Tensor:
        """Return maps (n, classes, cells) float32, 0 to 1; they may sum to less than 1."""
        if self._resident is not None:
            place = torch.from_numpy(indices).to(self._device)
            labels, values = (tensor[place] for tensor in self._resident)
        else:
            labels, values = (torch.from_numpy(file[indices]) for file in self._files)
        shape = (len(indices), self.classes, labels.shape[2])
        dense = torch.zeros(shape, device=self._device)
        return dense.scatter_add_(1, labels.long(), values.float() / 255)


def _open(path: Path, shape: tuple[int, int, int]) -> np.memmap[Any, np.dtype[np.uint8]]:
    size = int(np.prod(shape))
    fits = path.exists() and path.stat().st_size == size
    return np.memmap(path, np.uint8, "r+" if fits else "w+", shape=shape)
