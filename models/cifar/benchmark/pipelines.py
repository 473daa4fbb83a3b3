"""The trainer's step and its views, against the bare encoder and the image pipeline that one writes at first."""

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from models.cifar.data.images import ImageSet
from models.cifar.training.checks import require_compilable
from models.cifar.training.config import TrainConfig
from models.cifar.training.state import start
from models.cifar.training.train import compile_networks, make_batch, training_step
from models.devices.timing import in_turn

BARE, TRAINER, VIEWS = "bare encoder", "trainer", "views alone"
OBVIOUS, OBVIOUS_VIEWS = "obvious pipeline", "its views alone"


# Settings that ask for other views ask for other work, which is not this one's.
PILLOW_WORDS = (
    "the obvious pipeline's views are the same whatever --view says: crops of a fifth of the image or more, flips, "
    "color jitter, grayscale"
)


def random_images(count: int, size: int) -> ImageSet:
    """Smooth random pictures: what they show does not matter, but Pillow's time depends on it a little."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 8, 8, generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear").mul(255).to(torch.uint8)
    return ImageSet(images, torch.arange(count) % 10, tuple("0123456789"), "random")


def pillow_view(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One SimCLR view of one image, step by step; its strengths are fixed."""
    size = image.shape[0]
    picture = Image.fromarray(image)
    side = max(1, round(size * float(np.sqrt(rng.uniform(0.2, 1.0)))))
    left, top = rng.integers(0, size - side + 1, 2)
    picture = picture.resize((size, size), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.8:
        for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            picture = enhance(picture).enhance(rng.uniform(0.6, 1.4))
        hue, saturation, value = picture.convert("HSV").split()
        turn = int(rng.uniform(-0.1, 0.1) * 255)
        hue = hue.point(lambda h: (h + turn) % 256)
        picture = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
    if rng.random() < 0.2:
        picture = picture.convert("L").convert("RGB")
    return np.asarray(picture, dtype=np.float32).transpose(2, 0, 1) / 255.0


class PillowViews(Dataset):
    """Two views of every image, one image at a time, as a ``Dataset`` for a ``DataLoader``."""

    def __init__(self, images: ImageSet) -> None:
        self.images = images.images.cpu().numpy().transpose(0, 2, 3, 1)
        self.rng = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        first, second = (torch.from_numpy(pillow_view(self.images[place], self.rng)) for _ in range(2))
        return first, second


def require_full_views(config: TrainConfig) -> None:
    """Refuse what would compare small views with full ones.

    Raises:
        ValueError: view_sizes are given.
    """
    if config.view_sizes:
        raise ValueError(
            f"view_sizes: the first epoch's views would be of {config.view_sizes[0]} pixels, and those of the obvious "
            "pipeline of --image-size; measure each size by --image-size instead"
        )


def compare_pipelines(config: TrainConfig, image_size: int, rounds: int, device: torch.device) -> list[dict]:
    """One row for every way to do a step on the same images, or its views alone, with the share of the bare encoder's
    throughput: forward and backward on views that are there, and nothing else.

    Raises:
        ValueError: views of other sizes than the images; what a training of these settings raises.
    """
    require_full_views(config)
    images = random_images(config.batch_size, image_size)
    loader = DataLoader(PillowViews(images), batch_size=config.batch_size, shuffle=True)
    images = images.to(device)
    state = start(config, device)
    state.learner.train()
    require_compilable(config, device)
    compile_networks(config, state.learner)
    index = torch.arange(config.batch_size, device=device)
    first = make_batch(config, images, index, 0, 0)
    views = torch.cat([first.first, first.second])

    def encode(inputs: Tensor) -> None:
        state.learner.encoder.zero_grad(set_to_none=True)
        with config.autocast(device):
            features = state.learner.encoder(inputs)
        features.float().square().mean().backward()

    def encode_all() -> None:
        for batch in loaded():
            encode(batch)

    def loaded() -> Iterator[Tensor]:
        for pair in loader:
            yield torch.cat(pair).to(device).contiguous(memory_format=config.memory_format)

    steps = iter(range(10**9))
    work = {
        BARE: lambda: encode(views),
        TRAINER: lambda: training_step(state, state.learner, make_batch(config, images, index, 0, next(steps))),
        VIEWS: lambda: make_batch(config, images, index, 0, next(steps)),
        OBVIOUS: encode_all,
        OBVIOUS_VIEWS: lambda: list(loaded()),
    }
    times = in_turn(work, rounds, device)
    rows = []
    for name, each in times.items():
        wall, cpu = times[BARE].over(each)
        rows.append({"work": name, "views_per_second": 2 * config.batch_size * 1e3 / each.milliseconds,
                     "share": wall.median, "share_min": wall.low, "share_max": wall.high,
                     "cpu_share": cpu.median})  # fmt: skip
    return rows


HEADING = "                         views/s   share of the bare encoder's throughput     by CPU"


def line_of(row: dict) -> str:
    """A row as it is printed."""
    shares = f"{row['share']:6.1%} [{row['share_min']:.1%}, {row['share_max']:.1%}]"
    return f"{row['work']:<22} {row['views_per_second']:9,.0f}   {shares:<40} {row['cpu_share']:6.1%}"
