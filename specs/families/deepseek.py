# SPDX-License-Identifier: Apache-2.0
"""DeepSeek V2, V3, V3.2 and their likes: latent attention, fine-grained experts."""

from __future__ import annotations

from .decoder import styled

deepseek_v3 = styled(o_bias=False, mlp_bias=False)

deepseek_v2 = styled(o_bias=False)
