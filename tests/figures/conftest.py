"""What the tests of figures share."""

import matplotlib.pyplot as plt
import pytest

from figures.catalogue import STYLE
from tests.figures.battery import draw_figure


@pytest.fixture
def draw(request):
    """draw(config, **tables): the figure that the test is a case of, in the style of the catalogue."""
    # Colors by number ("C1") are those of the style at the time when they are read.
    with plt.style.context(STYLE):
        test = request.function
        yield lambda config=None, **tables: draw_figure(test.figure, config or {}, tables, test.leaves)
    plt.close("all")
