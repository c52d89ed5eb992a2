"""One function that builds any network of this project from its description."""

from __future__ import annotations

from adaptis.network.model import AdaptIS


def build_network(description: dict) -> AdaptIS:
    """Build a network, not initialised.

    Parameters:
        description: {"architecture": "toy", ...}, the rest the builder's arguments; it is stored
            in every weights file.
    """
    arguments = dict(description)
    architecture = arguments.pop("architecture")
    if architecture == "toy":
        from models.toy import toy_network as build
    elif architecture == "panoptic":
        from models.panoptic import panoptic_network as build  # imports GluonCV, which takes long
    else:
        raise ValueError(f"no architecture is called {architecture!r}: toy and panoptic are")
    return build(**arguments)
