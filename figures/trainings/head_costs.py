"""What a training step of each head costs against the batch size."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from figures.looks import color_and_marker
from figures.run_folder import RunFolder


def draw(run: RunFolder) -> Figure:
    """Milliseconds a step over n, one line a head, its parameters in the legend."""
    rows = run.tables["costs"]
    figure, ax = plt.subplots(figsize=(6.4, 3.6))
    for i, (head, part) in enumerate(rows.groupby("head", sort=False)):
        part = part.sort_values("batch_size")
        label = f"{head} ({part['parameters'].iloc[0]:,})"
        ax.plot(part["batch_size"], part["milliseconds"], label=label, **color_and_marker(i))
    sizes = sorted(rows["batch_size"].unique())
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xticks(sizes, [str(n) for n in sizes])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("batch size n")
    ax.set_ylabel("milliseconds a step")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside right center", title="head (parameters)")
    figure.suptitle("Forward, loss and backward of every head, features given", fontsize=10)
    return figure
