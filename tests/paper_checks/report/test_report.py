"""The report says everything once, loads nothing, and is whole or not written."""

import base64
import csv
import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from figures.catalogue import draw_all
from paper_checks.claims import Claim, Finding
from paper_checks.report import pages, pictures
from paper_checks.report.entries import Entry, Meta
from paper_checks.report.pages import print_summary, write_report
from paper_checks.report.tables import number_tables, side_words
from paper_checks.report.words import duration, markdown_code, markdown_text
from paper_checks.statistics.decisions import Contrast, PValues, contrast_rows
from tests.command_lines import disk_that_fills
from theory.numerics import whole_files

META = Meta("Claims, tested", "2025-01-02", "quick", "python -m paper_checks", "5", "A seed draws images.", 754.0,
            "digits", {"torch": "2.13.0", "device": "cpu (x86_64)"}, "10 epochs", "none")  # fmt: skip
VOID = {"meta", "img", "br", "hr", "link", "input"}
EVIL = 'above <script>alert("x")</script> & | below'


class Page(HTMLParser):
    """What tests ask about: nesting, ids, links, sources, and the text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.texts = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def text(self):
        return " ".join("".join(self.texts).split())


def claim(name, kind="comparison", paper="SimCLR", labels=False, wording="Some are better."):
    return Claim(name, paper, "section 1", f"{name}: {wording}", kind, f"Rule of {name}.", lambda tier: [],
                 lambda results, tier: None, labels)  # fmt: skip


def accuracy_row(name="MLP over linear", shift=0.02):
    first = {seed: 0.8 + 0.001 * seed for seed in range(5)}
    second = {s: v - shift - 0.001 * (s % 2) for s, v in first.items()}
    return contrast_rows([Contrast(name, "accuracy", first, second)])[0]


VERDICT = {"contrast": "Theorem 1: spread, gaussian", "measure": "noise 0", "cases": 1200, "measured": 0.0130912,
           "bound": 0.0155512, "side": "HOLDS"}  # fmt: skip


def entry(name="S1", answer="reproduced", rows=None, pictures=(), sentence="It is so.", p=0.001, failures=(), **others):
    """With p-values that bear its answer out; p is the smaller one."""
    rows = [accuracy_row()] if rows is None else rows
    values = {"reproduced": PValues(p, 1.0), "contradicted": PValues(1.0, p)}.get(answer, PValues(0.2, 1.0))
    found = Finding(answer, sentence, rows, p_values=None if others.get("kind") == "theorem" else values)
    return Entry(claim(name, **others), found, tuple(pictures), f"claims/{name}",
                 f"python -m paper_checks --tier quick --only {name}", failures)  # fmt: skip


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "claims" / "S1" / "claim_contrasts.png"
    path.parent.mkdir(parents=True)
    Image.linear_gradient("L").resize((1400, 300)).convert("RGB").save(path)
    return path


@pytest.fixture
def entries(picture):
    return [entry("T1", "contradicted", [VERDICT], kind="theorem", paper="TransFusion"),
            entry("T4e", "undecided", [VERDICT, accuracy_row()], paper="TransFusion", sentence=EVIL),
            entry("S1", pictures=[picture], labels=True), entry("S2", rows=[])]  # fmt: skip


def page_of(entries, folder, meta=META):
    write_report(entries, meta, folder)
    return Page((folder / "report.html").read_text())


def test_the_page_is_well_formed_and_every_link_leads_somewhere(entries, tmp_path):
    page = page_of(entries, tmp_path)
    assert page.open == []
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.ids) == len(set(page.ids))
    links = [attrs["href"] for attrs in page.all("a")]
    assert len(links) == 2 * len(entries) + 2, "and to open and close the figure"
    assert {link.removeprefix("#") for link in links} <= set(page.ids)
    labeled = [attrs["aria-labelledby"] for _, attrs in page.tags if "aria-labelledby" in attrs]
    assert set(labeled) <= set(page.ids)
    assert all(attrs.get("scope") in ("col", "row") for attrs in page.all("th"))


def test_every_claim_is_there_once_with_its_rule(entries, tmp_path):
    page = page_of(entries, tmp_path)
    articles = [attrs["id"] for attrs in page.all("article")]
    assert articles == ["claim-T1", "claim-T4e", "claim-S1", "claim-S2"]
    for each in entries:
        assert page.text.count(f"Rule of {each.claim.id}.") == 1
        assert page.text.count(each.command) == 1
        assert page.text.count(each.claim.wording) == 2, "in the table of verdicts, and in its own section"
    badges = [attrs["class"] for attrs in page.all("span") if "badge" in attrs.get("class", "")]
    assert len(badges) == 3 + 2 * len(entries)
    assert page.text.count("contradicted") >= 3, "answers are words, not colors alone"


def test_text_is_escaped(entries, tmp_path):
    page = page_of(entries, tmp_path)
    assert page.all("script") == []
    assert EVIL in page.text
    markdown = (tmp_path / "report.md").read_text()
    assert "<script" not in markdown
    assert "& " not in markdown.replace("&amp; ", "")


def test_nothing_is_loaded_and_figures_are_inside(entries, tmp_path, picture):
    page = page_of(entries, tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert "http" not in re.sub(r'base64,[^"]*', "", text)
    assert "url(" not in text
    assert "@import" not in text
    assert page.all("link") == []
    (image,) = page.all("img")
    assert image["alt"].startswith("S1: mean differences")
    kind, data = image["src"].split(",", 1)
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as embedded:
        assert embedded.size == (1100, round(300 * 1100 / 1400))
        assert embedded.mode == "P"
    assert (image["width"], image["height"]) == ("700", "150")
    assert "](<pictures/S1-claim_contrasts.png>)" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "pictures" / "S1-claim_contrasts.png").read_bytes() == base64.b64decode(data)


def test_a_small_or_transparent_figure_is_not_enlarged_and_not_black(tmp_path):
    Image.new("RGBA", (300, 100), (0, 0, 0, 0)).save(tmp_path / "x_y.png")
    found = pictures.shrunk(tmp_path / "x_y.png", "S1")
    assert (found.width, found.caption) == (150, "x y")
    with Image.open(io.BytesIO(found.content)) as image:
        assert image.size == (300, 100)
        assert image.convert("RGB").getpixel((5, 5)) == (255, 255, 255)


def test_thin_lines_keep_their_colors_beside_a_map(tmp_path):
    ramp = np.linspace(0, 255, 600).astype(np.uint8)
    pixels = np.full((400, 600, 3), 255, np.uint8)
    pixels[40:] = np.stack([np.broadcast_to(ramp, (360, 600)), np.broadcast_to(ramp[:360, None], (360, 600)),
                            np.broadcast_to(ramp[::-1], (360, 600))], -1)  # fmt: skip
    colors = {4: (0, 114, 178), 12: (0, 158, 115), 20: (213, 94, 0), 28: (204, 121, 167)}
    for y, color in colors.items():
        pixels[y : y + 3, 10:60] = color
    Image.fromarray(pixels).save(tmp_path / "x_y.png")
    with Image.open(io.BytesIO(pictures.shrunk(tmp_path / "x_y.png", "S1").content)) as image:
        seen = image.convert("RGB")
    assert seen.getpixel((300, 5)) == (255, 255, 255)
    for y, color in colors.items():
        off = np.abs(np.subtract(seen.getpixel((30, y + 1)), color)).max()
        assert off <= 12, f"{color} looks like {seen.getpixel((30, y + 1))}"


@pytest.mark.parametrize("content", [None, b"no picture"])
def test_a_figure_that_cannot_be_read_is_said(tmp_path, content):
    path = tmp_path / "claim_blocks.png"
    if content is not None:
        path.write_bytes(content)
    page = page_of([entry(pictures=[path])], tmp_path)
    assert page.all("img") == []
    assert "could not be read" in page.text


def test_accuracies_are_percentages_with_intervals(tmp_path):
    row = {**accuracy_row(), "first": 0.8123, "second": 0.7912, "difference": 0.0211, "low": -0.004, "high": 0.0462}
    text = page_of([entry(rows=[row])], tmp_path).text
    assert "81.2 %" in text
    assert "79.1 %" in text
    assert "+2.11 points [−0.40, +4.62]" in text


def test_other_numbers_are_rounded_so_that_something_is_left():
    row = {**accuracy_row(), "measure": "nats", "first": 3.21456, "second": 3.21333, "difference": 0.00123,
           "low": math.nan, "high": math.nan, "side": "undecided"}  # fmt: skip
    (table,) = number_tables([row])
    assert table.rows[0][:5] == ("MLP over linear", "+0.0012 [no interval]", "undecided", "3.2146", "3.2133")
    (table,) = number_tables([VERDICT])
    assert table.rows == (("Theorem 1: spread, gaussian", "noise 0", "1,200", "0.01309", "0.01555", "HOLDS"),)
    assert table.numeric == (False, False, True, True, True, False)


@pytest.mark.parametrize(("side", "direction", "words"), [
    ("above", "above", "claimed side"), ("below", "above", "other side"), ("below", "differs", "claimed side"),
    ("undecided", "differs", "undecided")])  # fmt: skip
def test_sides_are_seen_from_the_claim(side, direction, words):
    assert side_words(side, direction) == words


def test_verdicts_and_differences_have_a_table_each():
    assert [len(table.rows) for table in number_tables([accuracy_row(), VERDICT, accuracy_row()])] == [1, 2]


def test_results_have_a_row_a_number(entries, tmp_path):
    write_report(entries, META, tmp_path)
    with open(tmp_path / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["claim"] for row in rows] == ["T1", "T4e", "T4e", "S1", "S2"]
    assert rows[0]["bound"] == "0.0155512"
    assert float(rows[3]["difference"]) == accuracy_row()["difference"]
    assert {row["answer"] for row in rows} == {"contradicted", "undecided", "reproduced"}


def test_what_stands_over_all_claims_is_said_and_what_that_covers(tmp_path):
    # Weights 1/2 and 1/2 a claim: .001/.5 x 4, then .012/.5 x 3.5; the theorem is no member.
    failed = entry("S4", "failed", [], failures=("base-seed0: it broke\n  here",))
    found = [entry("T1", "reproduced", [VERDICT], kind="theorem"), entry("S1"), entry("S2", "contradicted", p=0.012),
             entry("S3", "undecided"), failed]  # fmt: skip
    page = page_of(found, tmp_path)
    markdown = (tmp_path / "report.md").read_text()
    for text in (page.text, markdown.replace("&lt;", "<")):
        assert "among the 4 of this run" in text
        assert "1 of 2 answers stand" in text
        assert "claims of the kind theorem are not among them" in text
        assert "p = 0.002, adjusted for all claims = 0.008: stands" in text
        assert "p = 0.024, adjusted for all claims = 0.084: does not stand" in text
        assert "p = 0.4, adjusted for all claims = 1" in text
        assert "A seed draws images." in text
        assert "base-seed0: it broke" in text
    for cells in ("S1✓ reproducedstands", "S2✗ contradicteddoes not stand", "S3? undecided–", "S4! not run (failed)–"):
        assert cells in page.text
    assert [line.split(" | ")[1:3] for line in markdown.splitlines() if line.startswith("| [")] == [
        ["reproduced", "–"], ["reproduced", "stands"], ["contradicted", "does not stand"], ["undecided", "–"],
        ["not run (failed)", "–"],
    ]  # fmt: skip
    with open(tmp_path / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["stands_over_all_claims"] for row in rows] == ["", "True", "False", "False", "False"]
    assert [float(row["p_over_all_claims"] or 9) for row in rows] == pytest.approx([9, 0.008, 0.084, 1.0, 1.0])
    assert [float(row["p_value"] or 9) for row in rows] == pytest.approx([9, 0.002, 0.024, 0.4, 0.4])


def test_theorems_alone_are_no_family(tmp_path):
    text = page_of([entry("T1", "reproduced", [VERDICT], kind="theorem")], tmp_path).text
    assert "Over all claims:" not in text


def test_a_comparison_without_p_values_is_refused(tmp_path):
    bare = Entry(claim("S1"), Finding("undecided", "So.", []), (), "", "")
    with pytest.raises(ValueError, match=r"^S1: a comparison must have p-values"):
        write_report([bare], META, tmp_path)


def test_a_control_run_is_said_at_the_top(entries, tmp_path):
    assert "control" not in page_of(entries, tmp_path).text.lower()
    control = Meta(**{**vars(META), "control": "shuffled_labels"})
    page = page_of(entries, tmp_path, control)
    assert page.text.index("shuffled_labels") < page.text.index("Verdicts")
    assert "nevertheless, and stand over all: S1." in page.text
    by_chance = [replace(each, finding=replace(each.finding, p_values=PValues(0.02, 1.0)))
                 if each.claim.id == "S1" else each for each in entries]  # fmt: skip
    assert "None that stands over all." in page_of(by_chance, tmp_path, control).text
    page_of(entries, tmp_path, control)
    assert "shuffled\\_labels" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize("room", [1, 2, 3])
def test_a_full_disk_leaves_the_old_report_whole(entries, tmp_path, monkeypatch, room):
    names = ("results.csv", "report.md", "report.html")
    write_report(entries[:1], META, tmp_path)
    old = [(tmp_path / name).read_bytes() for name in names]
    full = disk_that_fills(whole_files.write_whole, room)
    for module in (whole_files, pages):
        monkeypatch.setattr(module, "write_whole", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(entries, META, tmp_path)
    now = [(tmp_path / name).read_bytes() for name in names]
    assert [a == b for a, b in zip(old, now)] == [i + 1 >= room for i in range(3)]
    assert not list(tmp_path.glob(".*"))


def test_an_error_while_writing_leaves_the_old_page(entries, tmp_path, monkeypatch):
    write_report(entries, META, tmp_path)
    old = (tmp_path / "results.csv").read_bytes()
    monkeypatch.setattr(pages, "_render", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(entries[:1], META, tmp_path)
    assert (tmp_path / "results.csv").read_bytes() == old


def test_two_figures_for_each_of_thirty_claims_make_no_more_than_four_megabytes(tmp_path):
    points = [{"factor": "method", "value": name, "seed": seed, "accuracy": 0.8, "h_linear": 0.8 + 0.01 * seed,
               "z_linear": 0.7} for name in ("SimCLR", "TransFusion", "SupCon") for seed in range(5)]  # fmt: skip
    whole_files.write_table(tmp_path / "points.csv", points)
    whole_files.write_table(tmp_path / "contrasts.csv", [accuracy_row(f"arm {i} over arm {i + 1}") for i in range(4)])
    whole_files.write_json(tmp_path / "config.json", {"claim": "F1"})
    pictures = draw_all(tmp_path)
    assert len(pictures) == 2
    page_of([entry("F1", pictures=pictures)], tmp_path)
    assert (tmp_path / "report.html").stat().st_size < 4e6 / 30


def test_markdown_tables_have_as_many_cells_as_headings(entries, tmp_path):
    write_report(entries, META, tmp_path)
    lines = [re.sub(r"\\\|", "", line) for line in (tmp_path / "report.md").read_text().splitlines()]
    blocks, block = [], []
    for line in [*lines, ""]:
        if line.startswith("|"):
            block.append(line.count("|"))
        elif block:
            blocks.append(block)
            block = []
    assert len(blocks) == 1 + 4
    assert all(len(set(each)) == 1 and len(each) >= 3 for each in blocks)


HOSTILE = (
    "a|b `k` <script>alert(1)</script> [x](javascript:y) **z** ~~s~~ $t$ &amp; \\\n\n# heading\n- item\n```\x1b\u202e"
)


def test_words_of_users_are_text_in_markdown_as_in_html(tmp_path):
    """Names of classes and images, arms and errors of tasks are whatever a user's files are called."""
    meta = replace(META, images=HOSTILE, command=f"python -m paper_checks --images {HOSTILE}")
    row = accuracy_row(HOSTILE) | {"measure": HOSTILE}
    failed = entry("S2", "failed", sentence=HOSTILE, rows=[], failures=(HOSTILE,))
    write_report([entry("S1", sentence=HOSTILE, rows=[row]), failed], meta, tmp_path)
    lines = (tmp_path / "report.md").read_text().splitlines()
    for line in [each for each in lines if not each.startswith(("    ", "- Command: "))]:
        assert "<script" not in line
        assert not re.search(r"(?<!\\)(\*\*z|~~s|\$t|\[x\]|`k)", line), line
    assert not {"# heading", "- item"} & {*lines}
    assert not any(line.startswith("```") for line in lines), "no block of code begins that nothing ends"
    assert not {"\x1b", "\u202e"} & set("\n".join(lines))
    assert next(line for line in lines if line.startswith("- Command: ")).count("````") == 2, "a fence of its own"
    # Of claims, and of numbers.
    assert {line.count("|") - line.count("\\|") for line in lines if line.startswith("|")} == {8, 10}
    text = (tmp_path / "report.html").read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("# h", "\\# h"), ("1. x", "1\\. x"), ("- x", "\\- x"), ("> x", "\\> x"), ("2.5 %", "2.5 %"), ("-.5", "-.5"),
     ("+1.9 [0, 3]", "+1.9 \\[0, 3\\]"), ("a\n# b", "a # b"), ("---", "\\---"), ("a\\b", "a\\\\b")],
)  # fmt: skip
def test_text_begins_no_block(text, shown):
    assert markdown_text(text) == shown


@pytest.mark.parametrize(("text", "shown"), [("a b", "`a b`"), ("a`b", "`` a`b ``"), ("a\nb``", "``` a b`` ```")])
def test_code_has_a_fence_that_it_does_not_contain(text, shown):
    assert markdown_code(text) == shown


@pytest.mark.parametrize(("seconds", "words"), [(45.2, "45 s"), (754, "12 min 34 s"), (3720, "1 h 2 min"), (0, "0 s")])
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_the_summary_is_aligned_and_fits(entries, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    print_summary([*entries, entry("S10", sentence="word " * 60)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["5 claims: 3 reproduced, 1 contradicted, 1 undecided",
                          "Over all 4 trends and comparisons (Holm, 5 %) stand: S1, S2, S10"]  # fmt: skip
    assert max(map(len, lines)) <= 80
    assert [line[5:].split()[0] for line in lines[:-2]] == ["contradicted", "undecided", *["reproduced"] * 3]
    assert lines[4].endswith("…")
