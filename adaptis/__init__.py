"""AdaptIS: Adaptive Instance Selection Network (ICCV 2019), in MXNet Gluon.

Importing the package is light; MXNet is imported by the parts that compute with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import adaptis.compat  # what must be done before anything imports MXNet

if TYPE_CHECKING:
    from adaptis.inference.predictor import AdaptISPredictor

__version__ = "0.2.0"
__all__ = ["AdaptISPredictor", "__version__"]


def __getattr__(name: str):
    if name == "AdaptISPredictor":
        try:
            from adaptis.inference.predictor import AdaptISPredictor
        except ModuleNotFoundError as error:
            raise ImportError(adaptis.compat.explain_import_error(error)) from error
        return AdaptISPredictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
