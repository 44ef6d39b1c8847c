import matplotlib

matplotlib.use("Agg")  # no screen is needed

import matplotlib.pyplot as plt
import pytest

from segrepro import plots


@pytest.fixture(autouse=True)
def _figures_in_our_style_are_closed():
    plots.style()
    yield
    plt.close("all")
