"""The one-minute example: scikit-learn's digits, half of them to advise about and half kept aside to check."""

import numpy as np
from jaxtyping import Float

from models.advisor.inputs.features import FeatureSet, feature_set

STRENGTHS = (0.0, 0.125, 0.25, 0.5, 1.0)
# At strength 1, in pixels of the 8 x 8 images and in gray levels of 0..16.
SHIFT, NOISE = 3.0, 6.0


def digits(seed: int) -> tuple[FeatureSet, FeatureSet]:
    """Pixels of a random half, and of the other; both with views, shifted and noisy, of five strengths."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng([seed, 0])
    order = rng.permutation(len(images))
    halves = np.array_split(order, 2)
    first, second = (with_views(images[half], labels[half], rng) for half in halves)
    return first, second


def with_views(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> FeatureSet:
    """Images, flattened, with their views at STRENGTHS."""
    views = [augment(images, strength, rng) for strength in STRENGTHS]
    return feature_set(images, labels, views, STRENGTHS, name="digits")


def augment(images: Float[np.ndarray, "N 64"], strength: float, rng: np.random.Generator) -> Float[np.ndarray, "N 64"]:
    """Every image moved by up to ``SHIFT strength`` pixels each way, with Gaussian noise of standard deviation ``NOISE
    strength``; at 0 the images themselves."""
    reach = int(np.ceil(SHIFT * strength))
    padded = np.pad(images.reshape(-1, 8, 8), ((0, 0), (reach, reach), (reach, reach)))
    moves = np.rint(reach + SHIFT * strength * rng.uniform(-1, 1, (len(images), 2))).astype(int)
    moved = np.stack([image[r : r + 8, c : c + 8] for image, (r, c) in zip(padded, moves)])
    return moved.reshape(len(images), 64) + NOISE * strength * rng.standard_normal(images.shape)
