# SPDX-License-Identifier: Apache-2.0
"""Names of processors, from what Linux says of them."""

import pytest

from profiler.processor import cpu_facts, cpu_name, generation, is_virtual

EPYC = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC 9654   96-Core Processor
stepping\t: 1
flags\t\t: fpu vme avx512f avx512_bf16 {}

processor\t: 1
model name\t: another
"""
XEON = """vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 207
model name\t: Intel(R) Xeon(R) Processor
stepping\t: 2
flags\t\t: avx2 amx_bf16 hypervisor
"""
GRACE = """processor\t: 0
Features\t: fp asimd asimddp bf16 i8mm sve2
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: 0xd4f
"""


@pytest.fixture
def told(tmp_path):
    def write(text):
        (tmp_path / "cpuinfo").write_text(text)
        return tmp_path / "cpuinfo"

    return write


def test_the_processors_name(told, tmp_path):
    assert cpu_name(told(EPYC.format(""))) == "AMD EPYC 9654 96-Core Processor"
    assert is_virtual(told(EPYC.format(""))) is False
    assert is_virtual(told(EPYC.format("hypervisor"))) is True
    assert is_virtual(tmp_path / "none") is None


def test_a_name_without_a_number_gets_its_generation(told):
    # 207 is 0xCF: INTEL_EMERALDRAPIDS_X in the kernel's intel-family.h.
    assert cpu_name(told(XEON)) == "Intel(R) Xeon(R) Processor (Emerald Rapids)"
    unknown = XEON.replace("207", "99")
    assert cpu_name(told(unknown)) == "Intel(R) Xeon(R) Processor"


def test_arm_states_no_name_and_is_named_by_its_part(told):
    # 0x41 is Arm, 0xD4F ARM_CPU_PART_NEOVERSE_V2 in the kernel's cputype.h.
    assert cpu_name(told(GRACE)) == "Arm Neoverse V2"
    assert is_virtual(told(GRACE)) is None
    facts = cpu_facts(told(GRACE))
    assert facts["cpu_features"] == ["asimddp", "bf16", "i8mm", "sve2"]
    assert (facts["cpu_implementer"], facts["cpu_part"]) == (0x41, 0xD4F)


def test_facts_are_of_the_first_processor_and_leave_out_what_is_not_told(told, tmp_path):
    assert cpu_facts(told(EPYC.format(""))) == {
        "cpu": "AMD EPYC 9654 96-Core Processor",
        "cpu_vendor": "AuthenticAMD",
        "cpu_generation": "Genoa",  # 25 is 0x19, 17 is 0x11
        "cpu_family": 25,
        "cpu_model": 17,
        "cpu_stepping": 1,
        "cpu_features": ["avx512f", "avx512_bf16"],
    }
    assert generation(tmp_path / "none") == ""
    assert generation(told("model\t: a word\n")) == ""
