# SPDX-License-Identifier: Apache-2.0
"""State-space layers and linear attention, by hand."""

from roofline.physics.recurrent import chunked_flops_per_token, decode_state_flops


def test_one_step_of_gated_deltanet_by_hand():
    # Qwen3-Next: 32 heads x 128 x 128 = 524 288 elements, six operations each
    assert decode_state_flops(32 * 128 * 128) == 3_145_728


def test_chunked_prefill_by_hand():
    # 32 value heads and 16 key heads of 128, chunks of 64. Inside the chunk a token sees
    # half of it, 32 keys: 2 * 32 * 128 per key head = 131 072 for 16, and
    # 2 * 32 * 128 per head = 262 144 for 32; the state is read and updated:
    # 2 * 2 * 128 * 128 * 32 = 2 097 152. In all 2 490 368.
    flops = chunked_flops_per_token(
        num_heads=32, key_dim=128, value_dim=128, num_key_heads=16, chunk_size=64
    )
    assert flops == 131_072 + 262_144 + 2_097_152
