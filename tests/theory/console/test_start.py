"""A room of the toolkit that runs while a package of the user's hides another says which, and what to do."""

import pytest

from tests.theory.console.folders import ROOT, plant, python, ran
from theory.numerics.commands import BAD_ARGUMENTS


@pytest.mark.parametrize(
    ("module", "name", "planted"),
    [("synthetic.sweep_noise", "sweep-noise", "models"), ("synthetic.sweep_noise", "sweep-noise", "models.py"),
     ("models.cifar", "cifar", "theory"), ("figures", "figures", "theory.py"),
     ("paper_checks", "paper-checks", "synthetic"), ("synthetic.verify", "verify", "figures")],
)  # fmt: skip
def test_a_command_says_what_hides_which_package(tmp_path, module, name, planted):
    plant(tmp_path, planted)
    found = python(tmp_path, "-m", module, "--help")
    room = planted.removesuffix(".py")
    assert found.returncode == BAD_ARGUMENTS
    assert found.stderr == (
        f"error: {tmp_path / planted} hides the toolkit's package {room}, which is {ROOT / room}: run "
        f"`contrastive-theory {name} ...`, which nothing hides, or `python -P -m {module} ...`, which leaves this "
        "folder out\n"
    )
    assert ran(tmp_path) == [], "it is looked for, and not run"


def test_what_it_advises_works(tmp_path):
    plant(tmp_path, "models", "theory", "figures")
    found = python(tmp_path, "-P", "-m", "figures", "--help")
    assert (found.returncode, found.stderr) == (0, "")
    assert ran(tmp_path) == []


def test_a_folder_of_pythonpath_that_hides_one_is_named_without_the_option_that_would_not_help(tmp_path):
    (tmp_path / "here").mkdir()
    place = plant(tmp_path, "models")
    found = python(tmp_path / "here", "-m", "synthetic.verify", PYTHONPATH=f"{place}:{ROOT}")
    assert found.returncode == BAD_ARGUMENTS
    assert f"{place / 'models'} hides the toolkit's package models" in found.stderr
    assert "python -P" not in found.stderr


def test_a_program_gets_an_error_of_its_import(tmp_path):
    plant(tmp_path, "models")
    found = python(tmp_path, "-c", "import synthetic.verify")
    assert found.returncode == 1
    assert found.stderr.splitlines()[-1] == (
        f"ImportError: {tmp_path / 'models'} hides the toolkit's package models, which is {ROOT / 'models'}: import "
        "contrastive_theory.synthetic, which nothing hides, instead of synthetic"
    )


def test_a_users_own_command_with_such_packages_is_none_of_ours(tmp_path):
    """``python -m models.own`` of a user whose models use our theory."""
    plant(tmp_path, "models")
    (tmp_path / "models" / "own.py").write_text("import theory, sys; print(sorted(sys.modules['theory'].__path__))")
    found = python(tmp_path, "-m", "models.own")
    assert found.stdout == f"[{str(ROOT / 'theory')!r}]\n"
    assert ran(tmp_path) == ["models"]


def test_a_command_inside_a_package_of_somebody_elses_says_so(tmp_path):
    """Finders of editable installs find models.cifar in whatever is called models."""
    plant(tmp_path, "models", "synthetic")
    for room in ("models", "synthetic"):
        with open(tmp_path / room / "__init__.py", "a") as file:
            file.write(f"__path__.append({str(ROOT / room)!r})\n")
    for module, name in (("models.cifar", "cifar"), ("models.advisor", "advisor"), ("synthetic.verify", "verify")):
        found = python(tmp_path, "-m", module, "--help")
        assert found.returncode == BAD_ARGUMENTS
        assert f"{tmp_path / module.split('.')[0]} hides the toolkit's package" in found.stderr
        assert f"run `contrastive-theory {name} ...`" in found.stderr


def test_where_nothing_is_hidden_nothing_is_said(tmp_path):
    (tmp_path / "tests").mkdir()
    found = python(tmp_path, "-m", "figures", "--help")
    assert (found.returncode, found.stderr) == (0, "")
