# SPDX-License-Identifier: Apache-2.0
"""Measures real machines. Imports `specs` alone."""
