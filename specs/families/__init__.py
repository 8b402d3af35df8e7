# SPDX-License-Identifier: Apache-2.0
"""Hugging Face configs, family by family: each turns a `Config` into a `Model`.

`_index` says which function reads which ``model_type``. Most families are a `Style` of
the decoder in `decoder`: what their code fixes and their config does not say. The rest
build `Block` objects from the parts in `_parts`, `_experts`, `_delta` and `_ssm`.

To add a family: write its function in a module here, name it in `_index.FAMILIES`, and
add a small config to ``tests/specs/test_exact_params.py``, which compares the count with
what transformers builds. Read every field through `Config`: what is read is checked,
and what is not read is named in a warning.
"""
