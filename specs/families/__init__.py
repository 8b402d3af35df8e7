# SPDX-License-Identifier: Apache-2.0
"""Hugging Face configs, family by family: each turns a `Config` into a `Model`."""
