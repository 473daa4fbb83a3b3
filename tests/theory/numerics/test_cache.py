"""What is kept for the next time is read back where it is whole, and made again where it is not."""

import warnings
from pathlib import Path

import pytest

from theory.numerics.cache import CACHE_VARIABLE, HEAD_BYTES, cache_folder, kept


@pytest.fixture
def ask(tmp_path):
    """ask(): 1 the first time that it is made, 2 the second."""
    made = []

    def make():
        made.append(1)
        return len(made)

    def asked(at=tmp_path / "new" / "folder" / "number.txt", key=b"how many"):
        return kept(at, key, lambda content: int(bytes(content)), make, lambda n: [b"", str(n).encode()], "numbers")

    return asked


@pytest.fixture
def file(ask, tmp_path):
    """A file that holds the number 1."""
    ask()
    return tmp_path / "new" / "folder" / "number.txt"


def test_it_is_made_once(ask, tmp_path):
    assert [ask(), ask(), ask()] == [1, 1, 1]
    assert [each.name for each in (tmp_path / "new" / "folder").iterdir()] == ["number.txt"]


def test_what_does_not_end_as_a_number_is_made_again_and_said(ask, file):
    file.write_text("one")
    with pytest.warns(UserWarning, match=r"number\.txt: damaged, numbers are made again \(ValueError"):
        assert ask() == 2
    assert ask() == 2


def test_no_byte_of_a_file_can_be_changed(ask, file):
    whole = file.read_bytes()
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        with pytest.warns(UserWarning, match="SHA-256"):
            assert ask() > 1, place
    file.write_bytes(whole)
    assert ask() == 1


def test_nor_any_added_or_left_out(ask, file):
    whole = file.read_bytes()
    for other in (whole + b"0", whole[:-1], whole + b"\n", b"", whole[:HEAD_BYTES], whole[:5], b"1", b"\n" + whole):
        file.write_bytes(other)
        with pytest.warns(UserWarning, match="damaged"):
            assert ask() > 1, other
        file.write_bytes(whole)


def test_what_is_kept_answers_its_own_question_only(ask, file, tmp_path):
    """A file of the same content, put in the place of another question's."""
    for key in (b"how much", b"", b"how many1"):
        with pytest.warns(UserWarning, match="made for another question"):
            assert ask(key=key) > 1
        ask_again = file.read_bytes()
        assert ask(key=key) > 1
        assert file.read_bytes() == ask_again


def test_a_reader_that_fails_is_said_too(tmp_path):
    def fails(content):
        raise RuntimeError("of no use")

    def ask(read):
        return kept(tmp_path / "n", b"", read, lambda: 1, lambda n: [b"1"], "numbers")

    assert ask(fails) == 1
    with pytest.warns(UserWarning, match="of no use"):
        ask(fails)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        content = ask(lambda content: content)
    content[0] = 50
    assert bytes(content) == b"2", "whoever reads may keep and change it"


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
