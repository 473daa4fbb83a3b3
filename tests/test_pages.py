"""The pages of the handbook: links lead somewhere, commands and options exist, and blocks of Python run."""

import ast
import contextlib
import importlib
import io
import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from theory.console.table import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", "theory/README.md", "synthetic/README.md", "models/README.md",
         "models/advisor/README.md", "models/cifar/README.md", "models/foreign/README.md", "paper_checks/README.md",
         "figures/gallery/README.md"]  # fmt: skip
# Blocks that need libraries that the toolkit does not: tests/models/advisor/test_recipes.py reads them.
FOREIGN = re.compile(r"^(import|from) (timm|transformers|lightning)", re.MULTILINE)
TEXTS = {page: (ROOT / page).read_text() for page in PAGES}


def test_every_page_is_here():
    found = {str(path.relative_to(ROOT)) for path in ROOT.glob("*/**/README.md") if ".git" not in path.parts}
    rooms = {
        page for page in found if page.split("/")[0] in ("theory", "synthetic", "models", "figures", "paper_checks")
    }
    assert rooms <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", TEXTS[page]):
        path, _, anchor = link.partition("#")
        if path.startswith("http"):
            continue
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if anchor:
            heads = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}, link


# A text may have brackets of its own, behind a backslash.
IMAGE = re.compile(r"!\[((?:\\.|[^\]\\])*)\]\(<?([^)>]+)>?\)")
KEPT_REPORT = "paper_checks/quick_tier/report.md"


def says_what_is_seen(words: str) -> bool:
    """Whether an alternative text is more than a name: as long as a sentence, and with numbers off the picture."""
    return len(words.split()) >= 20 and len(re.findall(r"\d", words)) >= 3


@pytest.mark.parametrize("page", [*PAGES, KEPT_REPORT])
def test_pictures_are_in_words_what_they_are(page):
    text = (ROOT / page).read_text()
    assert len(IMAGE.findall(text)) == text.count("![")
    for words, path in IMAGE.findall(text):
        assert says_what_is_seen(words), f"{page}: the picture {path} says of itself only: {words!r}"


def test_a_picture_without_words_is_found_out():
    for words in (
        "",
        "phase_diagram.png",
        "phase_diagram",
        "Recovery over noise and batch size",
        "Phase diagram " * 20,
    ):
        [(found, _)] = IMAGE.findall(f"see ![{words}](../figures/gallery/phase_diagram.png)")
        assert not says_what_is_seen(found)
    assert len(IMAGE.findall(TEXTS["README.md"])) == 3
    assert "<img" not in "".join(TEXTS.values()), "then their words would be looked for there too"


@cache
def help_of(module: str) -> str:
    """What ``python -m MODULE --help`` says."""
    name = module if (ROOT / f"{module.replace('.', '/')}.py").exists() else f"{module}.__main__"
    main = importlib.import_module(name).main
    return _printed(main, ["--help"])


def _printed(main, arguments: list[str]) -> str:
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        main(arguments)
    return text.getvalue()


def commands_of(text: str) -> list[tuple[str, list[str]]]:
    """Module and words of every ``python -m`` of a page, in code spans, blocks and captions."""
    found = re.findall(r"python -m ([a-z_]+(?:\.[a-z_]+)*)([^`\n|]*)", text) + [
        (module, rest) for module, rest in re.findall(r"torchrun [^`\n]*?-m ([a-z_.]+)([^`\n|]*)", text)
    ]
    own = [(module, rest) for module, rest in found if module not in ("pytest", "venv")]
    return [(module, shlex.split(rest.split("#")[0].replace("'", ""))) for module, rest in own]


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_their_options_exist(page):
    for module, words in commands_of(TEXTS[page]):
        if module == "contrastive_theory":
            continue
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
        for word in words:
            option = re.match(r"--[a-z][a-z.-]*", word)
            # Options of one method are in that method's help alone.
            if option and not option[0].startswith("--method."):
                assert option[0] in help_of(module), f"{module} has no {option[0]}"


def subcommands_of(text: str) -> list[tuple[str, list[str]]]:
    """Name and words of every ``contrastive-theory`` of a page, however it is started."""
    found = re.findall(r"contrastive(?:-theory|_theory) ([a-z][a-z-]*)([^`\n|]*)", text)
    return [(name, shlex.split(rest.split("#")[0].replace("'", ""))) for name, rest in found]


@pytest.mark.parametrize("page", PAGES)
def test_subcommands_and_their_options_exist(page):
    for name, words in subcommands_of(TEXTS[page]):
        assert name in COMMANDS, f"{page}: contrastive-theory {name}"
        for word in words:
            option = re.match(r"--[a-z][a-z.-]*", word)
            assert not option or option[0] in help_of(COMMANDS[name]), f"{name} has no {option[0]}"


def test_a_subcommand_that_is_not_there_is_found_out():
    text = "`contrastive-theory sweeps --quick`, `-m contrastive_theory cifar --out DIR` or contrastive-theory --help"
    assert subcommands_of(text) == [("sweeps", ["--quick"]), ("cifar", ["--out", "DIR"])]
    assert "sweeps" not in COMMANDS
    assert "models/README.md" in [page for page in PAGES if len(subcommands_of(TEXTS[page])) > 3]


def test_an_option_that_is_not_there_is_found_out():
    [(module, words)] = commands_of("try `python -m synthetic.certify --no-such 3` now")
    assert (module, words) == ("synthetic.certify", ["--no-such", "3"])
    assert "--no-such" not in help_of(module)
    assert "--quick" in help_of(module)


BLOCKS = [
    (page, block)
    for page, text in TEXTS.items()
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    if not FOREIGN.search(block)
]


# Whose blocks other tests run: tests/models/advisor/test_recipes.py, tests/models/foreign/test_examples.py.
ELSEWHERE = ("models/advisor/README.md", "models/foreign/README.md")


def test_blocks_are_on_four_pages():
    assert {page for page, _ in BLOCKS} == {"theory/README.md", "models/README.md", *ELSEWHERE}


@pytest.mark.parametrize(("page", "block"), [each for each in BLOCKS if each[0] not in ELSEWHERE])
def test_blocks_run_and_say_what_they_say(page, block, tmp_path, monkeypatch):
    """An expression followed by "# NUMBER" has this value, to as many digits."""
    monkeypatch.setenv("CONTRASTIVE_THEORY_CACHE", str(tmp_path))
    lines, names, told = block.splitlines(), {}, 0
    for node in ast.parse(block).body:
        source = ast.get_source_segment(block, node)
        said = re.search(r"\)\s*#\s*([\d.]+)", lines[node.end_lineno - 1])
        if isinstance(node, ast.Expr) and said:
            digits = len(said[1].rstrip(".").partition(".")[2])
            assert round(float(eval(source, names)), digits) == float(said[1].rstrip(".")), source
            told += 1
        else:
            exec(source, names)
    assert told == {"theory/README.md": 5}.get(page, 0)
