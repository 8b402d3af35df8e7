# SPDX-License-Identifier: Apache-2.0
"""Operator laws: how long one kernel takes, with constants fitted on measured kernels.

`laws` holds the formulas, `features` their physical inputs, `apply` reads fitted
constants (numpy only); `kernels`, `fitting`, `pooling`, `leaveout` and `fit` make them.
"""
