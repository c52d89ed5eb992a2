"""An exponential moving average of a network's weights, which validation and shipping may use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import mxnet as mx


class MovingAverage:
    """The average of parameters and running statistics over the last 1 / (1 - decay) updates or so:
    less noisy than the last ones (Polyak and Juditsky 1992).

    Parameters:
        parameters: by name, initialised; those that are trained.
        decay: what an update keeps of the average, below 1.
    """

    def __init__(self, parameters: dict[str, mx.gluon.Parameter], decay: float):
        self._parameters, self._decay = parameters, decay
        self._averages = {
            name: parameter.data(parameter.list_ctx()[0]).copy()
            for name, parameter in parameters.items()
        }

    def update(self, updates: int) -> None:
        """Take in the parameters after so many updates. The first ones are kept for less: as
        TensorFlow's, the average is over a tenth of the training so far until that is longer."""
        taken = 1 - min(self._decay, (1 + updates) / (10 + updates))
        for name, average in self._averages.items():
            parameter = self._parameters[name]
            average += taken * (parameter.data(average.context) - average)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """The network has the averages; afterwards its own parameters again, to the bit."""
        own = {
            name: [array.copy() for array in parameter.list_data()]
            for name, parameter in self._parameters.items()
        }
        for name, parameter in self._parameters.items():
            parameter.set_data(self._averages[name])
        try:
            yield
        finally:
            for name, parameter in self._parameters.items():
                for array, value in zip(parameter.list_data(), own[name]):
                    value.copyto(array)

    @property
    def arrays(self) -> dict[str, mx.nd.NDArray]:
        """The averages on the CPU, by name."""
        return {name: average.as_in_context(mx.cpu()) for name, average in self._averages.items()}

    def restore(self, arrays: dict[str, mx.nd.NDArray]) -> None:
        """Put back what :attr:`arrays` gave."""
        for name, average in self._averages.items():
            arrays[name].copyto(average)
