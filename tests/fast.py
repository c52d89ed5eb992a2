"""--fast, for make test-fast: what takes long is skipped as soon as it begins, so that no
list of slow tests has to be kept; what remains draws few random examples. Hooks of pytest."""

from __future__ import annotations

import multiprocessing.process
import subprocess

import pytest
from hypothesis import is_hypothesis_test, settings

import adaptis  # noqa: F401  isort: skip  (before anything imports mxnet)
import mxnet as mx

EXAMPLES = 2  # of each property


def pytest_addoption(parser):
    parser.addoption(
        "--fast",
        action="store_true",
        help="skip what trains, exports, starts a process or builds a large network; draw few "
        "examples",
    )


def pytest_configure(config):
    settings.register_profile("tests", deadline=None)  # a loaded machine is no error
    settings.load_profile("tests")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--fast"):
        return
    for item in items:
        function = getattr(item, "obj", None)
        function = getattr(function, "__func__", function)  # of a method
        if function and is_hypothesis_test(function):
            given = function._hypothesis_internal_use_settings
            most = min(given.max_examples, EXAMPLES)
            function._hypothesis_internal_use_settings = settings(given, max_examples=most)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    with pytest.MonkeyPatch.context() as patch:
        if item.config.getoption("--fast"):
            for owner, name in _what_takes_long():
                patch.setattr(owner, name, lambda *_, **__: pytest.skip("--fast"))
        return (yield)


def _what_takes_long() -> list[tuple[object, str]]:
    from gluoncv.model_zoo.resnetv1b import ResNetV1b
    from gluoncv.model_zoo.resnext import ResNext

    from adaptis import export
    from adaptis.training.trainer import Trainer

    return [
        (Trainer, "fit"),  # training
        (mx.gluon.Trainer, "step"),  # the same elsewhere
        (export, "export"),  # with its comparison
        (subprocess.Popen, "__init__"),
        (multiprocessing.process.BaseProcess, "start"),
        (ResNetV1b, "__init__"),  # the backbones of panoptic networks, and Mask R-CNN's
        (ResNext, "__init__"),
    ]
