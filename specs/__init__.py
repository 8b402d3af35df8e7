# SPDX-License-Identifier: Apache-2.0
"""Questions as nouns: accelerators, models, engines, deployments, and their sources."""
