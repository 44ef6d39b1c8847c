"""How skewed a data set is: by pixels, and by images (Region Rebalance Section 3.1, Figure 5)."""

import numpy as np
import pandas as pd

from segrepro.datasets.base import Classes
from segrepro.datasets.statistics import Statistics


def frequency_table(statistics: Statistics, classes: Classes) -> pd.DataFrame:
    """One row a class, the most frequent first: percent of the labelled pixels, of the images with it, rare or not."""
    table = pd.DataFrame(
        {
            "pixels %": 100 * statistics.pixel_frequency,
            "images %": 100 * statistics.image_counts / statistics.images,
            "rare": [name in classes.rare for name in classes.names],
        },
        index=pd.Index(classes.names, name="class"),
    )
    return table.sort_values("pixels %", ascending=False, kind="stable")


def conditional_co_occurrence(statistics: Statistics) -> np.ndarray:
    """Percent (C, C) of the images with class [row] that also have class [column]; nan for a class in no image."""
    images = np.asarray(statistics.image_counts)[:, None]
    return np.divide(
        100.0 * statistics.co_occurrence, images, out=np.full((len(images),) * 2, np.nan), where=images > 0
    )
