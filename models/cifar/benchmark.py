"""How fast the trainer is, as ratios measured in one run.

    python -m models.cifar.benchmark
    python -m models.cifar.benchmark --encoder.kind resnet18 --batch-size 512 --device cuda --precision bf16

Three ways to do a step on the same images take turns: the bare encoder (forward and backward on views that are already
there, nothing else), the trainer's own step (views, encoder, head, loss, optimizer), and the bare encoder behind the
pipeline that one would write at first, which augments image by image with Pillow. Ratios are taken round by round.

Exit status: as in all commands (--help), never 1.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from models.cifar.data.images import LARGEST_SIZE, SMALLEST_SIZE, ImageSet
from models.cifar.training.config import TrainConfig
from models.cifar.training.read_config import parse_training
from models.cifar.training.state import start
from models.cifar.training.train import make_batch, training_step
from models.commands import exit_status, help_text, words_of
from models.environment import resolve_device
from theory.numerics.inputs import require_count
from theory.numerics.limits import LARGEST_ROUNDS


@dataclass(frozen=True)
class BenchmarkOptions(TrainConfig):
    """Command line of the benchmark: a training's settings, of which the data are replaced by random images."""

    device: str = "cpu"
    """Where: cpu, cuda, cuda:1, mps."""
    rounds: int = 7
    """Rounds, each of which runs everything once; medians are reported."""
    image_size: int = 32
    """Height and width of the random images."""


def random_images(count: int, size: int) -> ImageSet:
    """Smooth random pictures: what they show does not matter, but Pillow's time depends on it a little."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 8, 8, generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear").mul(255).to(torch.uint8)
    return ImageSet(images, torch.arange(count) % 10, tuple("0123456789"), "random")


def pillow_view(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One SimCLR view of one image, step by step."""
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


def time_rounds(work: dict[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, np.ndarray]:
    """Seconds of every round, all kinds of work in turn; a first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 1):
        for name, call in work.items():
            begun = time.perf_counter()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number:
                seconds[name].append(time.perf_counter() - begun)
    return {name: np.array(values) for name, values in seconds.items()}


def run(options: BenchmarkOptions) -> int:
    """Measure and print.

    Raises:
        ValueError: bad options, an unknown device.
    """
    require_count(options.rounds, "rounds", 1, LARGEST_ROUNDS)
    require_count(options.image_size, "image_size", SMALLEST_SIZE, LARGEST_SIZE)
    device = resolve_device(options.device)
    images = random_images(options.batch_size, options.image_size).to(device)
    state = start(options, device)
    state.learner.train()
    if options.compile:
        state.learner.encoder.compile()
    index = torch.arange(options.batch_size, device=device)
    first = make_batch(options, images, index, 0, 0)
    views = torch.cat([first.first, first.second])

    def encode(inputs: Tensor) -> None:
        state.learner.encoder.zero_grad(set_to_none=True)
        with options.autocast(device):
            features = state.learner.encoder(inputs)
        features.float().square().mean().backward()

    host, rng = images.images.cpu().numpy().transpose(0, 2, 3, 1), np.random.default_rng(0)

    def with_pillow() -> None:
        made = np.stack([pillow_view(image, rng) for _ in range(2) for image in host])
        encode(torch.from_numpy(made).to(device).contiguous(memory_format=options.memory_format))

    steps = iter(range(10**9))
    work = {
        "bare encoder": lambda: encode(views),
        "trainer": lambda: training_step(state, state.learner, make_batch(options, images, index, 0, next(steps))),
        "views alone": lambda: make_batch(options, images, index, 0, next(steps)),
        "Pillow, image by image": with_pillow,
    }
    seconds = time_rounds(work, options.rounds, device)
    encoder = options.encoder.factory or options.encoder.kind
    print(
        f"{options.method.name}, {encoder}, batch {options.batch_size}, {options.precision}, {device}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, median [min, max] of {options.rounds} rounds"
    )
    print("                           views/s   share of the bare encoder's throughput")
    for name, values in seconds.items():
        share = seconds["bare encoder"] / values
        shares = f"{np.median(share):6.1%} [{share.min():.1%}, {share.max():.1%}]"
        print(f"{name:<24} {2 * options.batch_size / np.median(values):9,.0f}   {shares}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    prog = "python -m models.cifar.benchmark"
    return exit_status(lambda: run(parse_training(BenchmarkOptions, words_of(arguments), prog, help_text(__doc__))))


if __name__ == "__main__":
    sys.exit(main())
