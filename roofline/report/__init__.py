# SPDX-License-Identifier: Apache-2.0
"""Answers as text that a person reads; no arithmetic."""
