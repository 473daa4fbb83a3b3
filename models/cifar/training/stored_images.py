"""The images that a checkpoint was trained on, found again from any folder and held against its fingerprint; or others.

The path of a data set is only read. What is decoded goes to the cache folder of whoever reads, never to one that a
checkpoint names.
"""

import sys
from dataclasses import replace
from pathlib import Path

from models.cifar.data.archives import ARCHIVES
from models.cifar.data.fingerprint import fingerprint
from models.cifar.data.images import DIGITS, DataConfig, Splits, load_images
from models.cifar.training.state import Trained, other_images


def read_images(
    trained: Trained, checkpoint: Path, dataset: str | None = None, root: Path | None = None
) -> tuple[Splits, dict]:
    """Images for a checkpoint, with their fingerprint; split, sized and limited as the training's settings say.

    Args:
        checkpoint: its file. A relative path of the training's data set is looked for where the training ran, then in
            the checkpoint's folder, then here.
        dataset: a name or path in place of the training's; any images may then be read.
        root: folder for downloads and decoded images.

    Raises:
        ValueError: images that are not there or cannot be read; without ``dataset`` also other images than those of the
            training: says what differs.
    """
    data = replace(trained.config.data, root=root)
    if dataset is not None:
        splits = load_images(replace(data, dataset=dataset))
        return splits, fingerprint(splits)
    data = _found(data, trained.place, checkpoint.parent)
    try:
        splits = load_images(data)
    except ValueError as error:
        kept = trained.config.data.root
        told = "" if kept is None or root is not None else f"; the training kept its images in {kept}: --root names it"
        raise ValueError(f"{error}{told}; --dataset reads other images") from error
    found = fingerprint(splits)
    told = other_images(trained.data, found)
    if told:
        what = f"the images in {data.dataset} are not those of the training: {told}"
        raise ValueError(f"{checkpoint}: {what}; --dataset PATH reads other images")
    if trained.data is None:
        told = "does not say which images it was trained on; some of those that are held out here may be among them"
        print(f"warning: {checkpoint} is of an earlier version and {told}", file=sys.stderr)
    return splits, found


def _found(data: DataConfig, place: str | None, folder: Path) -> DataConfig:
    """The settings with the path of an existing folder or archive, where one can be found."""
    path = Path(data.dataset).expanduser()
    if data.dataset in (DIGITS, *ARCHIVES) or not data.dataset or path.is_absolute():
        return data
    for base in (*(() if place is None else (Path(place),)), folder, Path()):
        if (base / path).exists():
            return replace(data, dataset=str(base / path))
    return data
