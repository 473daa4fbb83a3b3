"""What a run says of the code that it was made with."""

import subprocess

import pytest

from models.environment import commit_of

SETTINGS = ("user.name=x", "user.email=x@example.org", "commit.gpgsign=false")


@pytest.fixture
def project(tmp_path):
    """Somebody's repository with one commit, and the toolkit installed in it, where git does not look."""
    for name in ("own.py", ".venv/toolkit/environment.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    (tmp_path / ".gitignore").write_text(".venv\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "mine"]):
        git(tmp_path, *command)
    return tmp_path


def git(folder, *command):
    settings = [part for each in SETTINGS for part in ("-c", each)]
    done = subprocess.run(["git", "-C", folder, *settings, *command], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_commit_is_of_the_repository_that_tracks_the_file(project):
    head = git(project, "rev-parse", "HEAD")
    assert commit_of(project / "own.py") == (head, False)
    (project / "own.py").write_text("x = 2\n")
    assert commit_of(project / "own.py") == (head, True)


@pytest.mark.parametrize("ignored", [True, False])
def test_a_repository_around_an_installation_is_somebody_else_s(project, ignored):
    if not ignored:
        (project / ".gitignore").unlink()
    assert commit_of(project / ".venv" / "toolkit" / "environment.py") == (None, None)


def test_without_a_repository_there_is_no_commit(tmp_path):
    (tmp_path / "a.py").write_text("")
    assert commit_of(tmp_path / "a.py") == (None, None)
