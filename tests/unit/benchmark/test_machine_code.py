"""The counts of the static prediction, on listings whose counts are known."""

import importlib.util
import sys
from pathlib import Path

import pytest

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton has no wheels for this platform", allow_module_level=True)

ROOT = Path(__file__).parents[3]

# Two loops, one in the other, and the jump to itself that ends every listing.
LISTING = """
.text.kernel:
        /*0000*/                   S2R R0, SR_TID.X ;
        /*0010*/                   LDG.E.64 R2, desc[UR4][R2.64] ;
.L_x_0:
        /*0020*/                   FFMA R5, R2, R3, R5 ;
.L_x_1:
        /*0030*/              @!P0 LDS.128 R8, [R7] ;
        /*0040*/                   ISETP.GT.AND P2, PT, R1, 0x3, PT ;
        /*0050*/               @P2 BRA `(.L_x_1) ;
        /*0060*/               @P1 BRA `(.L_x_0) ;
        /*0070*/                   STG.E.U16 desc[UR4][R2.64], R5 ;
        /*0080*/                   EXIT ;
.L_x_2:
        /*0090*/                   BRA `(.L_x_2);
"""


@pytest.fixture
def machine_code(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module("machine_code")
    sys.modules.pop("machine_code", None)


def code_of(machine_code, listing):
    instructions, loops = machine_code.parse(listing)
    return machine_code.Code(32, 0, 0, instructions, loops)


def test_instructions_in_loops_count_as_often_as_the_loops_run(machine_code):
    code = code_of(machine_code, LISTING)
    assert code.loops == ((2, 6), (3, 5))
    done = machine_code.work(code, [10, 7])
    # outside: 2 before, 2 after and the last jump; in the outer loop 2, in the inner one 3
    assert done.issued == 5 + 10 * 2 + 10 * 7 * 3
    assert done.half_rate == 10 * 7  # the comparison
    assert done.global_bytes == 32 * (8 + 2)
    assert done.local_bytes == 10 * 7 * 32 * 16
    assert done.flop == 0


def test_a_loop_that_runs_once_may_be_missing_and_one_too_many_is_an_error(machine_code):
    single = LISTING.replace("@P1 BRA `(.L_x_0)", "NOP")
    code = code_of(machine_code, single)
    assert code.loops == ((3, 5),)
    assert machine_code.work(code, [1, 7]).issued == 7 + 7 * 3
    with pytest.raises(ValueError, match="expected 0"):
        machine_code.work(code, [])


def test_products_count_by_their_shapes(machine_code):
    names = ("R24, gdesc[UR8], R24", "R24, R88, gdesc[UR8], R24")  # left in shared memory, or not
    lines = [f"/*{i:04x}*/ HGMMA.64x128x16.F32.BF16 {name} ;" for i, name in enumerate(names)]
    done = machine_code.work(code_of(machine_code, "\n".join(lines)), [])
    assert done.flop == 2 * 2 * 64 * 128 * 16 / 4  # four warps share one
    assert done.local_bytes == (2 * 128 * 16 + 64 * 16) * 2 / 4
