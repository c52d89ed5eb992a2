"""One function that builds any network of this project from its description."""

from __future__ import annotations

import inspect

from adaptis.json_types import Entry
from adaptis.network.model import AdaptIS
from models.options import check_network


def build_network(description: dict) -> AdaptIS:
    """Build a network, not initialised.

    Parameters:
        description: {"architecture": "toy", ...}, the rest the builder's arguments; it is stored
            in every weights file.

    Raises FormatError where it can't be built.
    """
    check_network(description)
    arguments = dict(description)
    if arguments.pop("architecture") == "toy":
        from models.toy import toy_network as build
    else:
        from models.panoptic import panoptic_network as build  # imports GluonCV, which takes long
    Entry(arguments, "network").only(*inspect.signature(build).parameters)
    return build(**arguments)
