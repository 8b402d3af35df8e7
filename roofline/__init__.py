# SPDX-License-Identifier: Apache-2.0
"""Predicts how fast, how hot and how costly a model runs on an accelerator.

>>> import roofline
>>> roofline.predict("gpt2", "L4").memory.fits
True
"""

from roofline import interrupt  # noqa: F401  # first: Ctrl-C while the rest loads
from roofline.corrected import predict, predict_table
from roofline.estimate import Estimate
from specs.accelerator import Accelerator
from specs.engine import Engine, get_engine
from specs.errors import RooflineError
from specs.model import Model

__all__ = [
    "Accelerator",
    "Engine",
    "Estimate",
    "Model",
    "RooflineError",
    "get_engine",
    "predict",
    "predict_table",
]
