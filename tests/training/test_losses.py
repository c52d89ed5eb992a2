from __future__ import annotations

from functools import partial

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from adaptis.training.losses import (
    binary_cross_entropy,
    focal_loss,
    normalized_focal_loss,
    normalized_focal_softmax_loss,
)
from adaptis.training.sampling import IGNORED

BINARY = {
    "nfl": normalized_focal_loss,
    "nfl, authors": partial(normalized_focal_loss, count_ignored=True),
    "focal": focal_loss,
    "bce": binary_cross_entropy,
}


def value_and_gradient(loss, logits, target):
    """Losses of the examples, and the gradient of their sum with respect to the logits."""
    logits = mx.nd.array(logits, dtype="float32")
    logits.attach_grad()
    with autograd.record():
        values = loss(logits, mx.nd.array(target, dtype="float32"))
    values.backward()
    return values.asnumpy(), logits.grad.asnumpy()


def one_row(*values):
    """One example of one row of pixels: (1, 1, 1, W)."""
    return np.array(values, np.float32).reshape(1, 1, 1, -1)


def random_example(seed=0, ignored=True, scale=2.0):
    """logits, mask: (2, 1, 6, 5)."""
    rng = np.random.default_rng(seed)
    mask = rng.integers(IGNORED if ignored else 0, 2, (2, 1, 6, 5))
    return scale * rng.normal(size=mask.shape), mask


class TestAuthorsVectors:
    @pytest.fixture
    def vectors(self, reference):
        return np.load(reference / "authors_losses.npz")

    @pytest.mark.parametrize(
        ("name", "loss"),
        [
            ("nfl_sigmoid_a50_g2", partial(normalized_focal_loss, count_ignored=True)),
            ("nfl_sigmoid_a25_g2", partial(normalized_focal_loss, alpha=0.25, count_ignored=True)),
            ("focal_sigmoid_a25_g2", focal_loss),
        ],
    )
    def test_binary(self, vectors, name, loss):
        values, gradient = value_and_gradient(loss, vectors["logits"], vectors["mask"])
        np.testing.assert_allclose(values, vectors[name], rtol=1e-4)
        np.testing.assert_allclose(gradient, vectors[f"{name}_grad"], rtol=1e-4, atol=1e-7)

    def test_softmax(self, vectors):
        values, gradient = value_and_gradient(
            normalized_focal_softmax_loss, vectors["class_logits"], vectors["class_labels"]
        )
        np.testing.assert_allclose(values, vectors["nfl_softmax_g1"], rtol=1e-4)
        np.testing.assert_allclose(gradient, vectors["nfl_softmax_g1_grad"], rtol=1e-4, atol=1e-7)

    def test_the_papers_loss_is_theirs_without_the_ignored_pixels(self, vectors):
        """Both differ by the factor (pixels that count) / (all pixels), example by example."""
        logits, mask = vectors["logits"], vectors["mask"]
        share = (mask != IGNORED).mean(axis=(1, 2, 3))
        assert share.min() < 0.99  # some example has ignored pixels
        paper, paper_gradient = value_and_gradient(normalized_focal_loss, logits, mask)
        np.testing.assert_allclose(paper, vectors["nfl_sigmoid_a50_g2"] * share, rtol=1e-4)
        expected = vectors["nfl_sigmoid_a50_g2_grad"] * share.reshape(-1, 1, 1, 1)
        np.testing.assert_allclose(paper_gradient, expected, rtol=1e-4, atol=1e-7)


class TestByHand:
    """Object pixel with logit 0 (p = 1/2), background pixel with logit -ln 3 (p = 3/4)."""

    logits, mask = one_row(0, -np.log(3)), one_row(1, 0)
    half, quarter = np.log(2), np.log(4 / 3)  # -log p

    def test_normalized_focal(self):
        """Appendix A: the weights (1/2)^2 and (1/4)^2 over P = 5/16 are 4/5 and 1/5."""
        (value,), _ = value_and_gradient(normalized_focal_loss, self.logits, self.mask)
        assert value == pytest.approx(0.5 * (0.8 * self.half + 0.2 * self.quarter))  # alpha 0.5
        loss = partial(normalized_focal_loss, alpha=0.25)
        (value,), _ = value_and_gradient(loss, self.logits, self.mask)
        assert value == pytest.approx(0.25 * 0.8 * self.half + 0.75 * 0.2 * self.quarter)

    def test_normalized_focal_gradient(self):
        """With P a constant: d(w (1-p)^2 (-log p)) / dz = -s w (1-p)^2 (1 - p - 2 p log p), where
        s is 1 for object pixels, -1 for the others."""
        _, gradient = value_and_gradient(normalized_focal_loss, self.logits, self.mask)
        first = -0.5 * 0.8 * (1 / 2 + 2 * 1 / 2 * self.half)
        second = 0.5 * 0.2 * (1 / 4 + 2 * 3 / 4 * self.quarter)
        np.testing.assert_allclose(gradient.ravel(), [first, second], rtol=1e-5)

    def test_a_label_may_be_a_probability(self):
        """With a label of .7 where p is 1/4: -.7 log 1/4 - .3 log 3/4; the gradient is p - .7."""
        logits, mask = one_row(-np.log(3)), one_row(0.7)
        (value,), gradient = value_and_gradient(BINARY["bce"], logits, mask)
        assert value == pytest.approx(0.7 * np.log(4) + 0.3 * np.log(4 / 3))
        assert gradient.item() == pytest.approx(1 / 4 - 0.7)

    def test_ignored_pixels_make_no_difference(self):
        logits, mask = one_row(0, -np.log(3), 5, -9), one_row(1, 0, IGNORED, IGNORED)
        for name in ("nfl", "focal", "bce"):
            expected, _ = value_and_gradient(BINARY[name], self.logits, self.mask)
            values, _ = value_and_gradient(BINARY[name], logits, mask)
            np.testing.assert_allclose(values, expected, rtol=1e-5, err_msg=name)

    def test_focal(self):
        """Over the number of object pixels, here 1."""
        (value,), _ = value_and_gradient(focal_loss, self.logits, self.mask)
        assert value == pytest.approx(0.25 * self.half / 4 + 0.75 * self.quarter / 16)
        (value,), _ = value_and_gradient(focal_loss, one_row(0, 0), one_row(1, 1))
        assert value == pytest.approx(0.25 * self.half / 4)
        (value,), _ = value_and_gradient(focal_loss, one_row(0, 0), one_row(0, 0))
        assert value == pytest.approx(2 * 0.75 * self.half / 4)  # no object: divided by 1

    def test_binary_cross_entropy(self):
        (value,), gradient = value_and_gradient(binary_cross_entropy, self.logits, self.mask)
        assert value == pytest.approx((self.half + self.quarter) / 2)
        np.testing.assert_allclose(gradient.ravel(), [-1 / 4, 1 / 8], rtol=1e-5)

    def test_softmax(self):
        """Three classes; pixels of p = 1/2 and 1/4 weigh (1/2) / P and (3/4) / P, P = 5/4; the
        third pixel, however wrong, is ignored."""
        logits = np.log([[[1 / 2, 1 / 4, 1e-9], [1 / 4, 1 / 2, 1e-9], [1 / 4, 1 / 4, 1]]])
        logits = logits.reshape(1, 3, 1, 3) + 7  # a constant changes nothing
        labels = np.array([[[0, 2, IGNORED]]])
        (value,), gradient = value_and_gradient(normalized_focal_softmax_loss, logits, labels)
        assert value == pytest.approx(0.4 * np.log(2) + 0.6 * np.log(4), rel=1e-5)
        np.testing.assert_array_equal(gradient[..., 2], 0)

    def test_examples_are_independent(self):
        logits, mask = random_example()
        for name, loss in BINARY.items():
            together, _ = value_and_gradient(loss, logits, mask)
            alone = [
                value_and_gradient(loss, logits[i : i + 1], mask[i : i + 1])[0] for i in (0, 1)
            ]
            np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-5, err_msg=name)


class TestTotalGradient:
    """Appendix A: "the total gradient of the NFL is equal to the total gradient of BCE".

    What holds: the pixels' weights (1-p)^gamma / P sum to 1, as BCE's 1/N do, so NFL is a weighted
    mean of the pixels' cross entropies. Since the weights themselves depend on the logits (only P
    is held constant, as in the authors' code), a pixel's gradient has the additional factor
    1 - gamma p log(p) / (1 - p), which lies between 1 and 1 + gamma. So up to alpha, total
    gradients are equal for gamma = 0, and otherwise within this factor where all pixels are
    equally well known; focal loss's fades.
    """

    @staticmethod
    def total(loss, logits, mask):
        return np.abs(value_and_gradient(loss, logits, mask)[1]).sum()

    def test_gamma_0_is_bce(self):
        logits, mask = random_example()
        value, gradient = value_and_gradient(
            partial(normalized_focal_loss, gamma=0.0), logits, mask
        )
        bce, bce_gradient = value_and_gradient(binary_cross_entropy, logits, mask)
        np.testing.assert_allclose(2 * value, bce, rtol=1e-5)  # alpha is 1/2 for every pixel
        np.testing.assert_allclose(2 * gradient, bce_gradient, rtol=1e-4, atol=1e-7)

    @pytest.mark.parametrize("gamma", [1.0, 2.0, 3.0])
    @pytest.mark.parametrize("p", [0.01, 0.5, 0.9, 0.999])
    def test_pixels_of_equal_confidence(self, gamma, p):
        """The value is BCE's, the gradient too but for the known factor, however good p gets."""
        mask = random_example()[1]
        logits = np.log(p / (1 - p)) * np.where(mask > 0, 1, -1)
        loss = partial(normalized_focal_loss, gamma=gamma)
        value, bce = (value_and_gradient(f, logits, mask)[0] for f in (loss, binary_cross_entropy))
        np.testing.assert_allclose(2 * value, bce, rtol=1e-3)
        ratio = 2 * self.total(loss, logits, mask) / self.total(binary_cross_entropy, logits, mask)
        assert ratio == pytest.approx(1 - gamma * p * np.log(p) / (1 - p), rel=1e-3)

    def test_weights_sum_to_one(self):
        """A weighted mean lies between the lowest and the highest cross entropy."""
        logits, mask = random_example(ignored=False)
        cross_entropy = np.log1p(np.exp(np.where(mask > 0, -logits, logits)))
        confidence = np.exp(-cross_entropy)
        weights = (1 - confidence) ** 2
        weights /= weights.sum(axis=(1, 2, 3), keepdims=True)
        value, _ = value_and_gradient(normalized_focal_loss, logits, mask)
        expected = (weights * cross_entropy).sum(axis=(1, 2, 3))
        np.testing.assert_allclose(2 * value, expected, rtol=1e-4)

    def test_focal_loss_fades_and_nfl_does_not(self):
        mask = random_example()[1]
        ratios = {}
        for name, loss in (("nfl", normalized_focal_loss), ("focal", focal_loss)):
            ratios[name] = []
            for logit in (0.0, 3.0, 6.0):
                logits = logit * np.where(mask > 0, 1, -1)
                bce = self.total(binary_cross_entropy, logits, mask)
                ratios[name].append(self.total(loss, logits, mask) / bce)
        assert ratios["focal"][2] < 1e-3 * ratios["focal"][0]
        assert ratios["nfl"][0] <= ratios["nfl"][1] <= ratios["nfl"][2] <= 1.5  # (1 + gamma) / 2


@pytest.mark.parametrize("name", BINARY)
class TestEdges:
    def test_ignored_pixels_have_no_gradient(self, name):
        logits, mask = random_example()
        _, gradient = value_and_gradient(BINARY[name], logits, mask)
        np.testing.assert_array_equal(gradient[mask == IGNORED], 0)
        assert (gradient[mask == 1] < 0).all()
        assert (gradient[mask == 0] > 0).all()

    def test_all_ignored(self, name):
        logits, mask = random_example()
        mask[0] = IGNORED
        values, gradient = value_and_gradient(BINARY[name], logits, mask)
        assert values[0] == 0
        assert values[1] > 0
        np.testing.assert_array_equal(gradient[0], 0)
        assert np.isfinite(gradient).all()

    @pytest.mark.parametrize("logit", [40, 1e4, 1e30])
    def test_huge_logits(self, name, logit):
        """Right ones cost nothing; wrong ones much, but with a finite gradient."""
        right = value_and_gradient(BINARY[name], one_row(logit, -logit), one_row(1, 0))
        assert right[0] == pytest.approx(0, abs=1e-6)
        assert np.isfinite(right[1]).all()
        values, gradient = value_and_gradient(BINARY[name], one_row(-logit, logit), one_row(1, 0))
        assert np.isfinite(values).all()
        assert values > logit / 8
        assert np.isfinite(gradient).all()
        assert gradient[0, 0, 0, 0] < 0 < gradient[0, 0, 0, 1]


class TestSoftmaxEdges:
    def test_all_ignored(self):
        logits = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
        labels = np.zeros((2, 4, 5))
        labels[0] = IGNORED
        values, gradient = value_and_gradient(normalized_focal_softmax_loss, logits, labels)
        assert values[0] == 0
        assert values[1] > 0
        np.testing.assert_array_equal(gradient[0], 0)
        assert np.isfinite(gradient).all()

    @pytest.mark.parametrize("logit", [40, 1e4, 1e30])
    def test_huge_logits(self, logit):
        logits = np.array([logit, -logit, 0]).reshape(1, 3, 1, 1)
        for label, expected in ((0, 0), (1, 2 * logit), (2, logit)):
            value, gradient = value_and_gradient(
                normalized_focal_softmax_loss, logits, np.full((1, 1, 1), label)
            )
            assert value == pytest.approx(expected, rel=1e-5, abs=1e-6)
            assert np.isfinite(gradient).all()
