"""One function that builds any network of this project from its description."""

from __future__ import annotations

from adaptis.model import AdaptIS
from models.toy import toy_network

BUILDERS = {"toy": toy_network}


def build_network(description: dict) -> AdaptIS:
    """Build a network, not initialised.

    Parameters:
        description: {"architecture": "toy", ...}, the rest the builder's arguments; it is stored
            in every weights file.
    """
    arguments = dict(description)
    return BUILDERS[arguments.pop("architecture")](**arguments)
