"""Where rows are drawn from, again and again: sources whose truth can be looked up, with views of several strengths."""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from models.advisor import demo
from models.advisor.inputs.features import FeatureSet, feature_set


@runtime_checkable
class Source(Protocol):
    """Rows for the advisor and, of the same source, rows that it does not see."""

    strengths: ClassVar[tuple[float, ...]]
    # Of the rows, how many strengths and certified shares are worked out from: of large sets that is a part of them.
    looked_at: ClassVar[float]

    def draw(self, rng: np.random.Generator, rows: int, new: int) -> tuple[FeatureSet, FeatureSet]:
        """``rows`` for the advisor, and ``new`` ones, or all that are left."""

    def middle(self) -> np.ndarray:
        """(D,) what fixed attention is centered by: the mean of the source."""


@dataclass(frozen=True)
class Gaussian:
    """Independent rows of four Gaussian classes of unequal size, away from the origin; views add Gaussian noise."""

    strengths: ClassVar[tuple[float, ...]] = (0.0, 0.5, 1.0, 2.0)
    looked_at: ClassVar[float] = 1.0
    WIDTH: ClassVar[int] = 12
    SHARES: ClassVar[tuple[float, ...]] = (0.4, 0.3, 0.2, 0.1)
    # Standard deviation of a row about its class, and of a view about its row at strength 1; of the centers 1.5.
    NOISE: ClassVar[float] = 1.5
    VIEW_NOISE: ClassVar[float] = 2.0

    def _centers(self) -> np.ndarray:
        return 2.0 + 1.5 * np.random.default_rng(7).normal(size=(len(self.SHARES), self.WIDTH))

    def draw(self, rng: np.random.Generator, rows: int, new: int) -> tuple[FeatureSet, FeatureSet]:
        """Both independent."""
        return self._rows(rng, rows), self._rows(rng, new)

    def _rows(self, rng: np.random.Generator, count: int) -> FeatureSet:
        labels = rng.choice(len(self.SHARES), count, p=self.SHARES)
        rows = self._centers()[labels] + self.NOISE * rng.normal(size=(count, self.WIDTH))
        views = [rows + self.VIEW_NOISE * strength * rng.normal(size=rows.shape) for strength in self.strengths]
        return feature_set(rows, labels, views, self.strengths)

    def middle(self) -> np.ndarray:
        """The mean of its distribution."""
        return np.asarray(self.SHARES) @ self._centers()


class Digits:
    """Pixels of scikit-learn's digits: rows are drawn without replacement, and all others are new rows."""

    strengths: ClassVar[tuple[float, ...]] = demo.STRENGTHS
    looked_at: ClassVar[float] = 1.0

    def __init__(self) -> None:
        from sklearn.datasets import load_digits

        self._images, self._labels = load_digits(return_X_y=True)

    def draw(self, rng: np.random.Generator, rows: int, new: int) -> tuple[FeatureSet, FeatureSet]:
        """At most ``new`` of the images that are left."""
        order = rng.permutation(len(self._images))
        first, second = (
            demo.with_views(self._images[part], self._labels[part], rng) for part in (order[:rows], order[rows:][:new])
        )
        return first, second

    def middle(self) -> np.ndarray:
        """The mean image."""
        return self._images.mean(axis=0)


@dataclass(frozen=True)
class SmallClasses:
    """Independent rows, two in three of two large Gaussian classes and the rest of a thousand small ones, whose rows
    hardly ever meet another one of their class; only half of the rows are looked at, as in sets of more than 5,000.

    Leave out rows for being alone in their class, and the others look half as sharp again.
    """

    strengths: ClassVar[tuple[float, ...]] = (0.0, 0.5, 1.0, 2.0)
    looked_at: ClassVar[float] = 0.5
    WIDTH: ClassVar[int] = 12
    LARGE: ClassVar[int] = 2
    SMALL: ClassVar[int] = 1000
    IN_LARGE: ClassVar[float] = 2 / 3
    # As of Gaussian; centers are 1.5 about the origin.
    NOISE: ClassVar[float] = 0.7
    VIEW_NOISE: ClassVar[float] = 2.0

    def _centers(self) -> np.ndarray:
        return 1.5 * np.random.default_rng(7).normal(size=(self.LARGE + self.SMALL, self.WIDTH))

    def _shares(self) -> np.ndarray:
        of_one = [self.IN_LARGE / self.LARGE, (1.0 - self.IN_LARGE) / self.SMALL]
        return np.repeat(of_one, [self.LARGE, self.SMALL])

    def draw(self, rng: np.random.Generator, rows: int, new: int) -> tuple[FeatureSet, FeatureSet]:
        """Both independent."""
        return self._rows(rng, rows), self._rows(rng, new)

    def _rows(self, rng: np.random.Generator, count: int) -> FeatureSet:
        labels = rng.choice(self.LARGE + self.SMALL, count, p=self._shares())
        rows = self._centers()[labels] + self.NOISE * rng.normal(size=(count, self.WIDTH))
        views = [rows + self.VIEW_NOISE * strength * rng.normal(size=rows.shape) for strength in self.strengths]
        names = tuple(map(str, range(self.LARGE + self.SMALL)))
        return feature_set(rows, labels, views, self.strengths, class_names=names)

    def middle(self) -> np.ndarray:
        """The mean of its distribution."""
        return self._shares() @ self._centers()


# Random numbers depend on the place.
SOURCES: dict[str, type[Source]] = {"gaussian": Gaussian, "digits": Digits, "small-classes": SmallClasses}


def without_labels(features: FeatureSet) -> FeatureSet:
    """The same rows, whose view pairs are the classes."""
    return feature_set(features.embeddings, None, features.views, features.strengths)
