"""What a processor is said to be able to do."""

import pytest

from models.devices.processor import multiplies_bf16


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["flags\t\t: fpu sse avx512f avx512_bf16"] * 2, True),
        (["flags : amx_tile amx_bf16"], True),
        (["flags : fpu avx512f avx512bw"], False),
        # Names that hold the name, and other lines.
        (["flags : avx512_bf16x", "bugs : avx512_bf16"], False),
        # Cores that differ: a thread may run on either.
        (["flags : avx512_bf16", "flags : avx2"], False),
        (["Features : asimd bf16"], False),
        ([], False),
    ],
)
def test_bf16_is_read_off_the_flags_of_all_cores(tmp_path, lines, expected):
    path = tmp_path / "cpuinfo"
    path.write_text("\n".join(["processor : 0", *lines]))
    assert multiplies_bf16(path) is expected


def test_without_a_list_the_answer_is_no(tmp_path):
    assert not multiplies_bf16(tmp_path / "nothing")
    assert not multiplies_bf16(tmp_path)
