"""Images: where they come from, how they are split, and the views that are made of them."""

from models.cifar.data.given.splits import splits_from_arrays, splits_from_datasets
from models.cifar.data.images import DataConfig, ImageSet, Splits, load_images
from models.cifar.data.report import DataReport

__all__ = [
    "DataConfig",
    "DataReport",
    "ImageSet",
    "Splits",
    "load_images",
    "splits_from_arrays",
    "splits_from_datasets",
]
