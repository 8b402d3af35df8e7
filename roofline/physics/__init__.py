# SPDX-License-Identifier: Apache-2.0
"""Pure functions on arrays: counts, times, memory, power."""
