# SPDX-License-Identifier: Apache-2.0
"""Empirical constants that belong to no single device or engine, each cited with spread."""

from __future__ import annotations

ENERGY_BF16_J_PER_FLOP = {
    3.0: 0.50e-12,
    4.0: 0.60e-12,
    5.0: 0.75e-12,
    6.0: 0.90e-12,
    7.0: 1.05e-12,
    8.0: 1.25e-12,
    12.0: 2.0e-12,
    16.0: 2.8e-12,
    28.0: 6.0e-12,
}
"""Dynamic energy of one 16-bit matrix FLOP by process node in nm, chip-level (data
movement on chip included), idle power excluded.

4 and 5 nm: NVML power of sustained bf16 GEMMs in NVIDIA aiconfigurator's kernel tables
(H200 0.97, GB200 0.65 to 0.82, B200 0.65 pJ per FLOP with idle inside, less 10 to 20%
idle). 7 nm: A100 at its 400 W limit and about 0.8 of 312 TFLOP/s, less idle and HBM
(1.0 to 1.1 pJ). 12 nm: V100 at 300 W and 0.9 of 125 TFLOP/s (2.0 pJ). The others are
interpolated with the capacitance of the node; spread about 30%."""

ENERGY_RELATIVE = {
    "fp64": 4.0,
    "fp32": 3.0,
    "tf32": 1.6,
    "fp16": 1.0,
    "bf16": 1.0,
    "fp16_acc16": 0.7,
    "int8_block": 1.2,
    "any8": 0.6,
    "any4": 0.4,
    "fp8": 0.62,
    "int8": 0.55,
    "fp6": 0.55,
    "fp4": 0.38,
    "int4": 0.35,
    "vector": 4.0,
}
"""Energy per operation relative to bf16. fp8 0.60 / 0.97 and nvfp4 0.26 / 0.65 from the
same kernel tables (H200, B200); the rest after Horowitz, "Computing's energy problem",
ISSCC 2014, figure 1.1.9. Spread about 30%."""

ENERGY_J_PER_BYTE = {
    "hbm": 120e-12,
    "hbm2": 110e-12,
    "hbm2e": 100e-12,
    "hbm3": 85e-12,
    "hbm3e": 65e-12,
    "hbm4": 65e-12,
    "gddr5": 280e-12,
    "gddr5x": 260e-12,
    "gddr6": 220e-12,
    "gddr6x": 230e-12,
    "gddr7": 200e-12,
    "lpddr4": 120e-12,
    "lpddr4x": 110e-12,
    "lpddr5": 90e-12,
    "lpddr5x": 80e-12,
    "ddr3": 500e-12,
    "ddr4": 400e-12,
    "ddr5": 300e-12,
}
"""Board energy per byte of device memory traffic, on-chip transport included, idle
excluded. HBM3e: decode attention over a large cache draws 513 W at 3.8 TB/s on H200
and 633 W at 7.0 TB/s on B200 (aiconfigurator kernel tables), less idle and `ACTIVE_FRAC`:
50 to 85 pJ.
GDDR7: batch-1 decode at about 500 W and 1.5 TB/s on RTX PRO 6000, less idle: up to 290.
The DRAM device itself takes a third to a half of it (O'Connor et al., MICRO 2017,
table 1: 3.9 pJ/bit HBM2, about 7 pJ/bit GDDR). Spread about 40%."""

ENERGY_J_PER_BYTE_UNKNOWN = 200e-12
"""Between HBM and GDDR, where the memory kind is unknown."""

ENERGY_J_PER_LINK_BYTE = 60e-12
"""Per byte sent over a scale-up link: 1.3 pJ/bit for the NVLink-C2C class to about
10 pJ/bit for NVLink and PCIe SerDes with switch (NVIDIA Hopper whitepaper; OIF CEI)."""

IDLE_FRAC_OF_TDP = {"gpu": 0.12, "igpu": 0.10, "cpu": 0.25, "tpu": 0.20, "npu": 0.20}
"""Idle power over TDP where none is stated. GPUs with a model loaded: A100 55 to 60 W
of 400, H100 68 to 79 W of 700, RTX 4090 20 to 30 W of 450 (nvidia-smi readings in public
benchmark logs): 0.05 to 0.15."""

ACTIVE_FRAC = {"gpu": 0.18, "igpu": 0.45, "cpu": 0.45, "tpu": 0.20, "npu": 0.20}
"""Power above idle of a device that runs kernels at all, over (limit - idle). GPUs: the
constant left when NVML power of GEMMs in NVIDIA aiconfigurator's kernel tables (H200,
B200, GB200) is regressed on FLOP/s and bytes/s: 0.05 to 0.30, median about 0.18. Parts
with a shared package (APU, CPU) keep fabric, caches and host cores awake: about 0.45,
from published package power of decode on Strix Halo (70 to 95 W of 120). Rough."""

BLOCK_PRODUCTS_PER_VECTOR_FLOP = {
    "tensor": 2.5,
    "tensor-beside": 3.3,
    "dp4a": 1.6,
    "cpu": 1.1,
}
BLOCK_PRODUCTS_PER_INTEGER_OP = 3.4
"""Matrix FLOPs that quantised-block kernels (llama.cpp's MMQ) complete, before the engine's own
compute share: per vector FLOP on NVIDIA parts with tensor cores, more where integers have lanes
of their own beside the floats' (Volta, Turing, GA100), on those without and on processors;
per integer lane instruction (`unpack.integer_ops_per_s`) on other GPUs. Whatever the integer
peak, the scaling of each block of 32 runs on the vector units. Published llama-bench pp512
results of a 4-bit 7B model: medians of 2.5 per vector FLOP on Turing, 1.9 to 2.05 from GA10x
to Blackwell, less with k-quants and long prompts, and 1.25 on Pascal; per integer instruction
2.2 to 3.0 from RDNA2 to 3.5, Xe, Apple M1 to M4 (per vector FLOP 0.55 to 1.1), and 4.9 on
RDNA4. Judged with either half of the devices left out: median error of the prompt time 26 to
20% and 35 to 32%."""

EXP_PER_VECTOR_FLOP = 1.0 / 16.0
"""Exponentials per fp32 vector FLOP. NVIDIA SMs since Ampere GA10x do 16 special functions
and 256 fp32 FLOPs per clock (CUDA C++ Programming Guide, table of arithmetic throughput);
GA100 and Turing 16 and 128; AMD compute units a quarter of their lanes. It makes the
softmax of Blackwell, whose matrix units doubled and special functions did not, half of
the attention time (Shah et al., "FlashAttention-3", 2024, section 3.2, for Hopper)."""

MEMORY_CLOCK_FRAC, OTHER_ENERGY_FLOOR_FRAC = 0.6, 0.6
"""Share of the core clock below which memory-bound kernels slow down with it, and share of
the energy of traffic and standby that is left at the lowest voltage. Decode of 3B to 32B
models under power limits keeps within 3% of its pace while power above idle falls to 0.75 of
demand, then slows by 1.07 to 1.15 at 0.65 to 0.55, 1.3 to 1.5 at 0.45, 1.6 to 2.3 at 0.35 and
3.5 at 0.15 (DarshEllisd/LLM-Power-Cap-Expt, RTX 5000 Ada and RTX PRO 6000, 70 sweeps): about
0.6 over that share. An RTX 4000 Ada slows twice as much below 0.5."""

SUMMED_ENERGY_FLOOR_FRAC = 0.85
"""The same share where demand is the sum of these energies, not what boards were seen to draw:
bytes and standby, which is most of the sum, keep their price, and what the sum lacks is what
falls with the clock. Chosen on the same sweeps of three boards, each alone prefers 0.85 to
0.6; an independent engine on one of them (`mmbt`, vLLM) too, 17.5 to 12.7%."""

STANDING_W, STANDING_FRAC = 33.0, 0.085
"""Power that a working board draws at any clock: a part that all have, and a share of the default
limit. Below the knee energy per token above it no longer falls, so that time goes as ``1 / (P -
P0)``: P0 is 44, 60 and 82 W for boards of 130, 250 and 600 W (the same sweeps; 14B and 32B
models under limits)."""

HELD_FRAC, HELD_SHARPNESS = 0.98, 10.0
"""Mean power of boards that run into their limit, over the limit: 0.95 to 1.00 (NVML over
sweeps of limits on RTX 3090, RTX PRO 6000 and in `ml.energy`'s H100 and B200 rows). And how
sharply power meets it: boards cross the limit now and then before they are held."""
