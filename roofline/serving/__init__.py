# SPDX-License-Identifier: Apache-2.0
"""Requests over time on one replica: arrivals, scheduling policies, simulation, metrics."""
