"""What several test files share: the authors' reference vectors and a tiny network."""

from __future__ import annotations

from pathlib import Path

import pytest

import adaptis  # noqa: F401  isort: skip  (before anything imports mxnet)
import mxnet as mx

from models.build import build_network

REFERENCE = Path(__file__).parents[2] / "shared" / "reference"


@pytest.fixture(scope="session")
def reference():
    """The folder of the authors' vectors, which lies beside the repository."""
    if not REFERENCE.is_dir():
        pytest.skip(f"the authors' reference vectors are not at {REFERENCE}")
    return REFERENCE


@pytest.fixture(scope="session")
def toy():
    """A function: (width, seed, other arguments of the network) -> an initialised toy network."""

    def make(width=4, seed=0, **options):
        mx.random.seed(seed)
        network = build_network({"architecture": "toy", "width": width, **options})
        network.initialize(mx.init.Xavier(rnd_type="gaussian", magnitude=2))
        return network

    return make
