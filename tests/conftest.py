"""What several test files share: reference vectors, a tiny network, perfect predictions, images to
train on and a run on them."""

from __future__ import annotations

import pytest

import adaptis  # noqa: F401  isort: skip  (before anything imports mxnet)
import mxnet as mx
import numpy as np

from adaptis.evaluation.ground_truth import panoptic_truth
from adaptis.evaluation.results import PredictionFolder
from adaptis.network.model import HE_NORMAL
from datasets import toy_generator
from models.build import build_network
from tests.fast import (  # noqa: F401  hooks of pytest
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_runtest_protocol,
)
from tests.paths import SHARED
from tests.training_runs import train

REFERENCE = SHARED / "reference"


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
        network.initialize(HE_NORMAL)
        return network

    return make


@pytest.fixture(scope="session")
def predict_perfectly():
    """A function: (data set, folder) -> predictions made from its ground truth, without crowds
    and void."""

    def write(dataset, folder):
        predictions = PredictionFolder(folder, {})
        for sample in dataset:
            panoptic_seg, category_ids, crowd_ids = panoptic_truth(sample, dataset.classes)
            panoptic_seg[np.isin(panoptic_seg, list(crowd_ids))] = 0
            segments = [
                {"id": i, "category_id": category_id, "score": 1}
                for i, category_id in category_ids.items()
                if i not in crowd_ids
            ]
            # the class map has no void; what it says there doesn't count
            predictions.write(sample.name, panoptic_seg, segments, sample.semantic_map.clip(0))
        return predictions

    return write


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """16 training and 2 test images of the toy problem."""
    out = tmp_path_factory.mktemp("data") / "toy"
    toy_generator.generate(out, train=16, test=2, size=48, objects=(2, 4), workers=1)
    return out


@pytest.fixture(scope="session")
def uninterrupted(data, tmp_path_factory):
    """A function: stage -> folder of a run that nothing stopped; made once for all tests."""
    runs = {}

    def run(stage="instances"):
        if stage not in runs:
            output = tmp_path_factory.mktemp(stage)
            weights = () if stage == "instances" else ("--weights", run() / "best.params")
            runs[stage] = train(data, output, "--stage", stage, *weights)
        return runs[stage]

    return run
