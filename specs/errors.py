# SPDX-License-Identifier: Apache-2.0
"""Errors a user can act on.

Every message says what was asked, what exists, and what to do next. The face
prints an error of this tree as one line and exits with code 2; anything else is
a bug and keeps its traceback.

::

    RooflineError
    |-- UnknownNameError          nothing carries that name (nearest names listed)
    |-- AmbiguousNameError        several things carry that name (candidates listed)
    |-- InvalidInputError         a value that cannot be: sizes, keys, wrong types
    |   |-- UnsupportedPrecisionError   the card has no such matrix rate
    |   `-- ParallelismError            TP / PP / EP / DP that does not divide
    |-- ModelConfigError          a config.json that cannot be read as a model
    |-- FetchError                a page or file that could not be had
    |   |-- OfflineError                no network, or told to stay offline
    |   |-- GatedModelError             exists, needs an accepted licence or token
    |   |-- AuthenticationError         the token is wrong or expired
    |   `-- PageStructureError          the page is not built as expected
    |-- LaunchError               a rented machine, or the server that rents it, does not do
    |-- StoreError                records that cannot be written, read or exchanged
    `-- SpecDataError             a shipped data file contradicts itself
"""


class RooflineError(Exception):
    """Base of every expected error."""


class UnknownNameError(RooflineError):
    """Nothing carries the name asked for."""


class AmbiguousNameError(RooflineError):
    """More than one thing carries the name asked for."""


class InvalidInputError(RooflineError):
    """A value that cannot be."""


class UnsupportedPrecisionError(InvalidInputError):
    """The accelerator has no arithmetic of this precision."""


class ParallelismError(InvalidInputError):
    """A degree of parallelism that does not fit the model or the node."""


class ModelConfigError(RooflineError):
    """A model configuration that cannot be read."""


class FetchError(RooflineError):
    """Something that had to come over the network did not."""


class OfflineError(FetchError):
    """No network, or the caller asked to stay offline."""


class GatedModelError(FetchError):
    """The repository exists and needs an accepted licence or a token."""


class AuthenticationError(FetchError):
    """The token was refused."""


class PageStructureError(FetchError):
    """A page came back, and it is not built as expected."""


class StoreError(RooflineError):
    """Records that cannot be written, read or exchanged."""


class LaunchError(RooflineError):
    """A run on rented hardware that cannot be planned, started or followed."""


class SpecDataError(RooflineError):
    """A data file of ours is wrong."""
