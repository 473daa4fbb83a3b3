"""The images of a run: all of its trainings see the same ones, also where it goes on elsewhere.

Tasks are held against their settings, and of the images these have the name only: other pictures under the same path
would be paired with the ones of before, and nothing would tell.
"""

from pathlib import Path

from models.cifar.data.fingerprint import FINGERPRINT_FILE, fingerprint, read_fingerprint
from models.cifar.data.images import require_test_and_classes
from models.cifar.training.state import other_images
from paper_checks.tasks import TASKS
from paper_checks.tiers import Tier
from paper_checks.trainings.arms import images, seeded
from theory.numerics.whole_files import write_json

# Names of the tier's own training with the first seed, in whichever precision.
OWN = ("base-seed0", "precision=float32-seed0", "precision=bf16-seed0")


def fingerprint_of(tier: Tier) -> dict:
    """Of the first seed's images, with the classes that they have in a control run.

    Raises:
        ValueError: images that cannot be used: none to test with, or one class.
    """
    return fingerprint(require_test_and_classes(images(seeded(tier.config, 0).data, tier.control)))


def not_its_images(folder: Path, found: dict) -> list[str]:
    """What the run's images have against those that are there now, in words; nothing where they are the same.

    Args:
        found: fingerprint of those that are there now.

    Raises:
        ValueError: a fingerprint that is damaged.
    """
    told = other_images(_kept(folder), found)
    return [f"set of images: {told}"] if told else []


def keep(found: dict, folder: Path) -> None:
    """Keep the fingerprint in the run's folder, if it is not there yet."""
    if not (folder / FINGERPRINT_FILE).exists():
        write_json(folder / FINGERPRINT_FILE, found)


def _kept(folder: Path) -> dict | None:
    """The run's; of a run of an earlier version, or of one whose own is gone, that of the tier's own training with the
    first seed: others may hold out other images."""
    places = (folder, *(folder / TASKS / name for name in OWN))
    return next((kept for place in places if (kept := read_fingerprint(place)) is not None), None)
