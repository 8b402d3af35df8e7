# SPDX-License-Identifier: Apache-2.0
"""Readers of checkpoints' ``quantization_config``; use `specs.quantisation`."""
