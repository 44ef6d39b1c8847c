"""A split held in arrays, for tests that need no files."""

from collections.abc import Sequence

import numpy as np

from segrepro.datasets.base import Classes, Split


class ArraySplit(Split):
    def __init__(self, labels: Sequence[np.ndarray], images: Sequence[np.ndarray] | None = None, classes: int = 3):
        """labels: (H, W) arrays; images: (H, W, 3) uint8, by default filled with their index."""
        self.classes = Classes(tuple(f"class {i}" for i in range(classes)), ((0, 0, 0),) * classes)
        self.arrays = [np.asarray(array, dtype=np.int16) for array in labels]
        self.images = images or [np.full((*array.shape, 3), i, dtype=np.uint8) for i, array in enumerate(self.arrays)]
        self.fingerprint = f"arrays of {sum(int(array.sum()) for array in self.arrays)}"

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.images[index], self.arrays[index]

    def source(self, index: int) -> str:
        return f"array {index}"
