"""Counterexamples to Theorems 3 and 4, the block model and Proposition 5: on disk, and checked again.

Beside synthetic/counterexamples.py, whose statements are about thresholded stacks. Files hold what their statement is
about: a batch with the parameters of its blocks, or an affinity with its labels.
"""

import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from models.losses import affinity_jsd, target_of_labels
from models.softmax_fusion import SoftmaxStack
from models.stack import AttentionStack
from theory.affinity import effective_threshold
from theory.block_model import (
    ReluAttention,
    SoftmaxAttention,
    check_exactness,
    check_sharpening,
    sharpening_margin,
    trajectory,
)
from theory.clusters import cluster_layout
from theory.inputs import require_points
from theory.loss_certificate import check_certificate
from theory.measurements import affinity_sharpness
from theory.softmax_fusion import check_softmax_fusion
from theory.verdicts import Verdict
from theory.whole_files import write_whole

# What each statement's file holds besides its name.
FIELDS = {
    "theorem_3": {"points", "labels", "inverse_temperature", "mixing", "depth", "normalized"},
    "theorem_4": {"affinity", "labels"},
    "block_model": {"points", "labels", "within", "between", "inverse_temperature", "threshold", "power", "mixing",
                    "depth"},
    "proposition_5": {"points", "labels", "within", "between", "threshold", "power", "mixing"},
}  # fmt: skip


@dataclass(frozen=True)
class FusionCounterexample:
    """All that is needed to see a violation again.

    Attributes:
        statement: a key of FIELDS.
        values: name -> number or array. points are one batch (n, D), affinity is one matrix (n, n); within and between
            are the cosines that an equiangular batch was made with; inverse_temperature is NaN for ReLU blocks.
    """

    statement: str
    values: dict[str, object]

    def save(self, path: Path) -> None:
        """Write an .npz, whole or not at all."""
        write_values(path, {"statement": self.statement, **self.values})

    @staticmethod
    def load(path: Path) -> "FusionCounterexample":
        """Read an .npz; nothing in it is unpickled.

        Raises:
            ValueError: not such a file, damaged, or with contents that make no batch.
        """
        fields = read_values(path)
        statement = fields.pop("statement", None)
        if statement not in FIELDS or set(fields) != FIELDS[statement]:
            raise not_a_counterexample(path)
        if "points" in fields:
            require_points(fields["points"])
        cluster_layout(fields["labels"], len(fields.get("points", fields.get("affinity"))))
        return FusionCounterexample(statement, fields)

    def replay(self) -> Verdict:
        """Compute it again and check the statement again."""
        return {"theorem_3": _theorem_3, "theorem_4": _theorem_4, "block_model": _block_model,
                "proposition_5": _proposition_5}[self.statement](self.values)  # fmt: skip


def write_values(path: Path, values: Mapping[str, object]) -> None:
    """Numbers, words and arrays as an .npz, by name, whole or not at all; ``read_values`` reads them."""
    buffer = io.BytesIO()
    np.savez(buffer, **{name: np.asarray(value) for name, value in values.items()})
    write_whole(path, buffer.getvalue())


def read_values(path: Path) -> dict[str, object]:
    """Numbers, words and arrays of an .npz, by name; nothing in it is unpickled.

    Raises:
        ValueError: no such file, or no whole .npz.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            return {name: data[name] if data[name].ndim else data[name].item() for name in data.files}
    except FileNotFoundError as error:
        raise ValueError(f"--replay {path}: there is no such file") from error
    except (ValueError, TypeError, AttributeError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        # NumPy's own words would recommend to unpickle the file.
        raise not_a_counterexample(path) from error


def not_a_counterexample(path: Path) -> ValueError:
    """What is said of files that hold something else."""
    return ValueError(f"--replay {path}: not a counterexample file, or a damaged one")


Keep = Callable[[FusionCounterexample], None]


def keeper(folder: Path | None) -> Keep:
    """Something that saves every counterexample it is given into ``folder``, numbered; None: forgets them."""
    counts: dict[str, int] = {}

    def keep(example: FusionCounterexample) -> None:
        counts[example.statement] = counts.get(example.statement, -1) + 1
        if folder is not None:
            example.save(folder / f"counterexample-{example.statement}-{counts[example.statement]}.npz")

    return keep


def forget(example: FusionCounterexample) -> None:
    """Keeps nothing."""


def _theorem_3(v: dict) -> Verdict:
    normalize = "every" if v["normalized"] else "input"
    stack = SoftmaxStack(int(v["depth"]), float(v["inverse_temperature"]), float(v["mixing"]), normalize=normalize)
    measured = stack.measure(torch.from_numpy(v["points"])[None], v["labels"])
    sizes = cluster_layout(v["labels"]).sizes
    return check_softmax_fusion(
        measured, sizes, v["inverse_temperature"], v["mixing"], normalized=bool(v["normalized"])
    )


def _theorem_4(v: dict) -> Verdict:
    affinity = torch.from_numpy(v["affinity"])
    loss = affinity_jsd(affinity[None], target_of_labels(v["labels"], dtype=torch.float64)).numpy()
    return check_certificate(loss, affinity_sharpness(v["affinity"], v["labels"])[:, None])


def _equal_clusters(v: dict) -> tuple[int, int]:
    sizes = cluster_layout(v["labels"]).sizes
    return len(sizes), sizes[0]


def _block_model(v: dict) -> Verdict:
    points = torch.from_numpy(v["points"])[None]
    if np.isnan(v["inverse_temperature"]):
        stack = AttentionStack(int(v["depth"]), v["threshold"], v["mixing"], power=v["power"], normalize="input")
        model = ReluAttention(effective_threshold(v["threshold"], "float64"), v["power"], v["mixing"])
    else:
        stack = SoftmaxStack(int(v["depth"]), v["inverse_temperature"], v["mixing"])
        model = SoftmaxAttention(v["inverse_temperature"], v["mixing"])
    measured = stack.measure(points, v["labels"])
    predicted = trajectory(
        np.array([v["within"]]), np.array([v["between"]]), *_equal_clusters(v), int(v["depth"]), model
    )
    return check_exactness("Block model", (measured.alpha, measured.beta), predicted)


def _proposition_5(v: dict) -> Verdict:
    stack = AttentionStack(1, v["threshold"], v["mixing"], power=v["power"], normalize="input")
    measured = stack.measure(torch.from_numpy(v["points"])[None], v["labels"])
    margin = sharpening_margin(v["within"], v["between"], *_equal_clusters(v), v["power"], v["mixing"], v["threshold"])
    before, after = zip(measured.alpha, measured.beta)
    return check_sharpening(np.array([margin]), before, after, v["threshold"])
