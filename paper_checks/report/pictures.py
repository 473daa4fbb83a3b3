"""Figures as the report has them: small copies, with words for who cannot see them."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from figures.words import DESCRIPTION

# Pictures are embedded no wider than that, in so many colors, and shown at 100 pixels an inch of the figure.
PIXELS, COLORS, SHOWN = 1100, 256, 700
CAPTIONS = {
    "claim_contrasts": "mean differences with their intervals, and the side that the claim is on",
    "claim_curves": "accuracy of every arm",
    "claim_composition": "accuracy of every pair of augmentations",
    "claim_histograms": "densities of positive and negative scores by epoch",
    "claim_moments": "moments of scores, and the gradient's norm, by epoch",
    "claim_blocks": "values by block",
    "claim_turns": "accuracy and critical strength by the strength in training",
    "claim_floor": "accuracy by batch size beside the floors that were predicted",
}
PICTURES = "pictures"
# Behind a claim's id, of the folder with the differences of all its readings.
READINGS = "-readings"


@dataclass(frozen=True)
class Picture:
    """A figure of the report; without content where its file cannot be read.

    Attributes:
        alt: what is seen in it, which the file says itself; of figures of earlier versions, what it is of.
        path: of its copy, from the run folder.
        content: a PNG.
        width, height: at which it is shown where there is room.
    """

    caption: str
    alt: str
    path: str
    content: bytes = b""
    width: int = 0
    height: int = 0

    @property
    def data(self) -> str:
        """As a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.content).decode()


def shrunk(path: Path, claim: str) -> Picture:
    """A figure as the report has it: small enough to be many."""
    caption = _caption(path)
    alt = f"{claim}: {caption}"
    # Two runs of one command have figures of one name.
    own = path.parent.name in (claim, f"{claim}{READINGS}")
    copy = f"{PICTURES}/{'' if own else f'{claim}-'}{path.parent.name}-{path.name}"
    try:
        with Image.open(path) as image:
            image.load()
            words, full = image.info.get(DESCRIPTION, ""), _on_white(image)
    except OSError:
        # The numbers are worth a page without the figure; the page says that it is missing.
        return Picture(caption, alt, copy)
    # Figures have 200 pixels an inch.
    shown = min(SHOWN, max(1, full.width // 2))
    size = (min(PIXELS, full.width), max(1, round(full.height * min(PIXELS, full.width) / full.width)))
    # Not by how many pixels have a color: a thin line's would be lost to shades of a map.
    small = full.resize(size, Image.Resampling.LANCZOS).quantize(
        COLORS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
    )
    data = io.BytesIO()
    described = PngInfo()
    described.add_text(DESCRIPTION, words)
    small.save(data, format="PNG", optimize=True, pnginfo=described if words else None)
    alt = f"{claim}: {words.removeprefix(f'{claim}: ')}" if words else alt
    return Picture(caption, alt, copy, data.getvalue(), shown, max(1, round(full.height * shown / full.width)))


def _on_white(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _caption(path: Path) -> str:
    caption = CAPTIONS.get(path.stem, path.stem.replace("_", " "))
    return f"{caption}, by reading" if path.parent.name.endswith(READINGS) else caption
