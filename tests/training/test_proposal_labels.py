"""Which points of an object are good, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from adaptis.training.proposal_labels import authors_labels, paper_labels


def labels(ious):
    return paper_labels(ious, np.zeros_like(ious))


class TestPapers:
    """Confidences don't count."""

    def test_the_top_fifth_of_each_object(self):
        ious = np.array([[0.1, 0.9, 0.3, 0.2, 0.5], [0.7, 0.1, 0.2, 0.3, 0.4]])
        targets = labels(ious)
        assert targets.dtype == np.float32
        np.testing.assert_array_equal(targets, [[0, 1, 0, 0, 0], [1, 0, 0, 0, 0]])

    def test_of_the_papers_48_points_10_are_good(self):
        """20 % of 48 is 9.6."""
        ious = np.random.default_rng(0).permutation(48) / 48
        targets = labels(ious)
        np.testing.assert_array_equal(targets, ious >= 38 / 48)
        assert targets.sum() == 10

    def test_equals_are_equally_good(self):
        np.testing.assert_array_equal(labels(np.ones(10)), np.ones(10))
        tied = np.array([0.2, 0.8, 0.8, 0.8, 0.2, 0.2, 0.2, 0.2, 0.2, 0.9])
        np.testing.assert_array_equal(labels(tied), tied >= 0.8)

    def test_a_point_that_misses_the_object_is_not_good(self):
        np.testing.assert_array_equal(labels(np.zeros(10)), np.zeros(10))
        np.testing.assert_array_equal(labels(np.eye(10)[3]), np.eye(10)[3])

    @pytest.mark.parametrize(("count", "positives"), [(1, 1), (2, 1), (4, 1), (8, 2), (10, 2)])
    def test_at_least_one_is_good(self, count, positives):
        assert labels(np.linspace(0.1, 1, count)).sum() == positives


class TestAuthors:
    def test_above_095_of_the_30th_percentile(self):
        """Scores .1, .2, ..., 1 and .1 once more: the 30th percentile of the 11 is .3, so from
        .285 on they are good, graded from .7 at .3 to 1 at 1."""
        scores = np.array([0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
        found = authors_labels(scores, np.ones(11))
        assert found.dtype == np.float32
        expected = [0, 0, 0, *(0.7 + 0.3 * (np.arange(3, 11) - 3) / 7)]
        np.testing.assert_allclose(found, expected, rtol=1e-6)

    def test_the_score_is_iou_times_confidence(self):
        """.5, .4, .45 and .08: the 30th percentile is .368, of which .95 is .3496."""
        found = authors_labels(np.array([0.5, 0.8, 0.9, 0.1]), np.array([1, 0.5, 0.5, 0.8]))
        np.testing.assert_allclose(found, [1, 0.7, 0.85, 0], rtol=1e-6)

    def test_a_little_below_the_percentile_is_good(self):
        """Ten points: the percentile lies .7 of the way from .5 to .51, at .507; .482 is over .95
        of it and .481 isn't."""
        others = [0.5, 0.51, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]
        for third, is_good in ((0.482, True), (0.481, False)):
            scores = np.array([0.1, third, *others])
            assert np.percentile(scores, 30) == pytest.approx(0.507)
            assert (authors_labels(scores, np.ones(10))[1] > 0) == is_good

    def test_where_masks_are_alike_all_points_are_good(self):
        """IoUs within .1; the labels still follow the scores."""
        found = authors_labels(np.array([0.8, 0.85, 0.9]), np.ones(3))
        np.testing.assert_allclose(found, [0.7, 0.85, 1], rtol=1e-5)

    def test_equals_are_equally_good(self):
        np.testing.assert_array_equal(authors_labels(np.full(4, 0.9), np.full(4, 0.8)), 1)

    def test_points_that_miss_the_object_are_not_good(self):
        np.testing.assert_array_equal(authors_labels(np.zeros(5), np.ones(5)), 0)

    def test_each_object_has_its_own(self):
        ious = np.array([[0.1, 0.9, 0.5], [0.5, 0.1, 0.9]])
        both = authors_labels(ious, np.ones((2, 3)))
        for row, alone in zip(both, ious):
            np.testing.assert_array_equal(row, authors_labels(alone, np.ones(3)))
