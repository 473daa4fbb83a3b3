"""What is kept for the next time is read back where it is whole, and made again where it is not."""

from pathlib import Path

import pytest

from theory.numerics.cache import CACHE_VARIABLE, cache_folder, kept


@pytest.fixture
def ask(tmp_path):
    """ask(): 1 the first time that it is made, 2 the second."""
    made = []

    def make():
        made.append(1)
        return len(made)

    path = tmp_path / "new" / "folder" / "number.txt"
    return lambda at=path: kept(at, lambda p: int(p.read_text()), make, lambda p, n: p.write_text(str(n)), "numbers")


def test_it_is_made_once(ask, tmp_path):
    assert [ask(), ask(), ask()] == [1, 1, 1]
    assert [each.name for each in (tmp_path / "new" / "folder").iterdir()] == ["number.txt"]


def test_what_is_damaged_is_made_again_and_said(ask, tmp_path):
    ask()
    (tmp_path / "new" / "folder" / "number.txt").write_text("one")
    with pytest.warns(UserWarning, match=r"number\.txt: damaged, numbers are made again \(ValueError"):
        assert ask() == 2
    assert ask() == 2


def test_without_a_place_it_is_made_every_time(ask, tmp_path):
    (tmp_path / "file").write_text("")
    for number in (1, 2):
        with pytest.warns(UserWarning, match="numbers are not kept for the next time"):
            assert ask(tmp_path / "file" / "number.txt") == number


def test_the_folder(monkeypatch, tmp_path):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv(CACHE_VARIABLE, "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "contrastive-theory-toolkit"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "contrastive-theory-toolkit"
