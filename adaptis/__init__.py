"""AdaptIS: Adaptive Instance Selection Network (ICCV 2019), in MXNet Gluon."""

import adaptis.compat  # noqa: F401  isort: skip  (must come before anything imports mxnet)
from adaptis.inference.predictor import AdaptISPredictor

__all__ = ["AdaptISPredictor"]
