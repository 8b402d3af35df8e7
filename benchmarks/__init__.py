# SPDX-License-Identifier: Apache-2.0
"""What others measured, and how wrong we are."""
