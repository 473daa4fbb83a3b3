"""How a report looks: in the reader's light or dark, on paper, with every figure opened large, and in words."""

import re

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from figures.words import DESCRIPTION
from tests.paper_checks.report.test_report import Page, entry, page_of

WORDS = "S1: mean differences. n = 32: falls from 1 to 0 between 0.3 and 0.5, σ | τ."


@pytest.fixture
def report(tmp_path):
    """The folder of a report with one figure, which says what is seen in it."""
    described = PngInfo()
    described.add_text(DESCRIPTION, WORDS)
    path = tmp_path / "S1" / "claim_blocks.png"
    path.parent.mkdir()
    Image.new("RGB", (300, 100), "white").save(path, pnginfo=described)
    page_of([entry(pictures=[path]), entry("S2", "undecided")], tmp_path)
    return tmp_path


def test_a_figure_says_what_is_seen_in_it_wherever_it_goes(report):
    """In both reports, and in the small copy, which is looked at by itself too."""
    (image,) = Page((report / "report.html").read_text()).all("img")
    assert image["alt"] == WORDS
    assert WORDS.replace("|", "\\|") in (report / "report.md").read_text()
    with Image.open(report / "pictures" / "S1-claim_blocks.png") as small:
        assert small.info[DESCRIPTION] == WORDS


def rules_of(text, condition):
    """The rules of all blocks of a style sheet that stand under a condition; "" are those under none."""
    style, found, depth, own = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1], [], 0, ""
    for part in re.findall(r"[^{}]*[{}]", style):
        head = part[:-1].strip()
        if part.endswith("{") and depth == 0:
            own = head if head.startswith("@media") else ""
        if own == condition or (not condition and not own):
            found.append(part)
        depth += 1 if part.endswith("{") else -1
        own = own if depth else ""
    return "".join(found)


def test_the_page_follows_the_reader_s_light_or_dark(report):
    """Every color stands in one table, which darkness replaces whole; what is printed is never dark."""
    text = (report / "report.html").read_text()
    assert '<meta name="color-scheme" content="light dark">' in text
    light, dark = rules_of(text, ""), rules_of(text, "@media screen and (prefers-color-scheme: dark)")
    names = set(re.findall(r"(--[a-z-]+): #", light))
    assert names == set(re.findall(r"(--[a-z-]+): #", dark))
    assert len(names) > 10
    used = set(re.findall(r"var\((--[a-z-]+)\)", text)) - {"--shown"}
    assert used == names
    body = light[light.index("* {") :]
    assert set(re.findall(r"#[0-9a-f]{3,6}\b", body)) == {"#fff"}, "the card under figures alone"
    assert not re.findall(r"@media \(prefers-color-scheme", text)
    for scheme in (light, dark):
        colors = dict(re.findall(r"(--[a-z-]+): (#[0-9a-f]+)", scheme))
        pairs = [("--ink", "--paper"), ("--quiet", "--paper"), ("--link", "--paper"), ("--ink", "--raised"),
                 ("--quiet", "--raised"), ("--warning", "--warned")]  # fmt: skip
        pairs += [("--on-badge", f"--{name}") for name in ("reproduced", "contradicted", "no-difference", "failed")]
        for ink, ground in pairs:
            assert contrast(colors[ink], colors[ground]) >= 4.5, (ink, ground)


def contrast(one, other):
    """Of two colors, by WCAG 2."""

    def luminance(color):
        digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_a_figure_opens_large_and_closes_without_scripts(report):
    """By links, which keys reach: the first opens the figure at all its pixels, the other leads back to its place."""
    text = (report / "report.html").read_text()
    page = Page(text)
    links = {attrs["class"]: attrs["href"] for attrs in page.all("a") if attrs.get("class") in ("open", "close")}
    figure, place = (next(attrs["id"] for attrs in page.all(tag) if "id" in attrs and attrs["id"].startswith(start))
                     for tag, start in (("figure", "figure-"), ("div", "at-")))  # fmt: skip
    assert links == {"open": f"#{figure}", "close": f"#{place}"}
    assert page.all("script") == []
    assert "figure:target img { width: auto; max-width: none; }" in rules_of(text, "")
    printed = rules_of(text, "@media print")
    assert re.search(r"figure:target \{ position: static;", printed)
    assert re.search(r"\bfigure\b[^{}]*\{ break-inside: avoid; \}", printed)
