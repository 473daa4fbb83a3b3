"""A disk that is really full: a small tmpfs of its own, which the run fills, and which then grows."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# In a namespace of its own, so that nothing is mounted for anybody else.
PROGRAM = """
import subprocess, sys
from pathlib import Path
from synthetic.integrity.folders import State, look_at
from tests.small_runs import RUNS, results

run, place = RUNS["over_fusion"], Path(sys.argv[1])

def mount(how):
    subprocess.run(["mount", "-t", "tmpfs", "-o", how, "tmpfs", str(place)], check=True)

mount("size=64m")
run(place / "whole", False)
expected, told = results(place / "whole"), []
for kilobytes in range(16, 100, 4):
    mount(f"size={kilobytes}k")
    try:
        run(place / "run", False)
        status = "enough"
    except AssertionError as error:
        status = str(error)
    begun = (place / "run" / "environment.json").exists()
    found = look_at(place / "run")
    assert found.state is (State.WHOLE if begun else State.NO_RUN), (kilobytes, found)
    mount("remount,size=64m")
    run(place / "run", begun)
    assert results(place / "run") == expected, kilobytes
    assert look_at(place / "run").state is State.WHOLE
    subprocess.run(["umount", str(place)], check=True)
    told.append(status)
print("statuses", *told)
"""


@pytest.mark.slow
def test_a_run_whose_disk_is_full_goes_on_when_there_is_room(tmp_path):
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")
    inside = ["unshare", "--map-root-user", "--mount"]
    if subprocess.run([*inside, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], capture_output=True).returncode:
        pytest.skip("may not mount a tmpfs")
    done = subprocess.run([*inside, sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=ROOT, capture_output=True,
                          text=True, timeout=900)  # fmt: skip
    assert done.returncode == 0, done.stderr
    statuses = done.stdout.split("statuses ")[-1].split()
    # 3: results could not be written.
    assert set(statuses) <= {"3", "enough"}
    assert statuses.count("3") >= 5
