"""A backend for matplotlib whose `show` saves the open figures as PNG files and prints their names.

The source of this file is sent to the worker, which makes a module of it when matplotlib asks for the
backend that `MPLBACKEND` names. The files are `figure-1.png` and on, in the folder where cells start.
"""

import itertools
import os

import matplotlib.pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg as FigureCanvas

__all__ = ["FigureCanvas", "show"]

_numbers = itertools.count(1)


def show(*, block: bool | None = None) -> None:
    """Save and close every open figure."""
    for figure in plt.get_fignums():
        path = next(path for path in map(_path, _numbers) if not os.path.exists(path))
        plt.figure(figure).savefig(path)
        plt.close(figure)
        print(f"[figure saved as {path}]")


def _path(number: int) -> str:
    return os.path.join(os.environ["HOME"], f"figure-{number}.png")
