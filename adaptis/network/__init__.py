"""The network: Figures 4, 7 and 8 of the paper."""

from adaptis.compat import import_mxnet

import_mxnet()  # here first, where it says what is missing
