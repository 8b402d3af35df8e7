# SPDX-License-Identifier: Apache-2.0
"""Learns what the analytic estimate misses."""
