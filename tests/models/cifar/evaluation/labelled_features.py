"""Small sets of features with classes."""

import numpy as np
import torch

from models.cifar.evaluation.features import LabelledFeatures


def gaussian(count, dim, seed, dtype=torch.float32):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((count, dim))).to(dtype)


def random_labels(count, classes, seed):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, classes, count))


def clusters(count, seed, classes=3, spread=0.1, dim=8):
    labels = torch.arange(count) % classes
    return LabelledFeatures(torch.eye(dim)[labels] + spread * gaussian(count, dim, seed), labels)
