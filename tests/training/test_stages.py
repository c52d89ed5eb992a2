"""What the two stages minimise, and the validation measure, with networks whose answer is known."""

from __future__ import annotations

import mxnet as mx
import numpy as np
import pytest
from easydict import EasyDict
from mxnet import autograd

from adaptis.training.proposal_labels import authors_labels
from adaptis.training.sampling import IGNORED
from adaptis.training.stages import InstanceStage, ProposalStage, mask_iou, mean_known
from adaptis.training.validation import spread, validate
from datasets.base import Instance, Sample

LN2 = np.log(2)


def array(values):
    return mx.nd.array(np.array(values, np.float32))


def logit_of(confidences):
    confidences = np.array(confidences)
    return array(np.log(confidences / (1 - confidences)))


class TestMaskIoU:
    @pytest.mark.parametrize(
        ("logits", "mask", "iou"),
        [
            ([1, 2, -1, -1], [1, 1, 0, 0], 1),
            ([1, 1, 1, -1], [1, 1, 0, 0], 2 / 3),
            ([-1, 1, 1, -1], [1, 1, 0, 0], 1 / 3),
            ([-1, -1, 1, -1], [1, 1, 0, 0], 0),
            ([-1, -1, -1, -1], [0, 0, 0, 0], np.nan),  # nothing there, nothing found
            ([1, 1, 1, 1], [IGNORED] * 4, np.nan),
            ([1, 1, 9, 9], [1, 1, IGNORED, IGNORED], 1),
            ([1, 1, 1, -1], [1, 0, IGNORED, IGNORED], 1 / 2),
        ],
    )
    def test_by_hand(self, logits, mask, iou):
        logits, mask = (array(a).reshape((1, 1, 2, 2)) for a in (logits, mask))
        assert mask_iou(logits, mask, 0.5).asnumpy() == pytest.approx(iou, abs=1e-6, nan_ok=True)

    def test_a_miss_is_exactly_nothing(self):
        """Whether a point is a good proposal hangs on it."""
        assert mask_iou(array([[[[1, -1]]]]), array([[[[0, 1]]]]), 0.5).asscalar() == 0

    def test_each_mask_has_its_own(self):
        logits = array([[1, -1], [1, 1]]).reshape((2, 1, 1, 2))
        masks = array([[1, 0], [1, 0]]).reshape((2, 1, 1, 2))
        np.testing.assert_allclose(mask_iou(logits, masks, 0.5).asnumpy(), [1, 0.5])

    def test_the_mean_is_of_those_that_have_one(self):
        assert mean_known(array([[0.25, np.nan], [0.75, np.nan]])).asscalar() == 0.5
        assert np.isnan(mean_known(array([np.nan])).asscalar())

    @pytest.mark.parametrize(("threshold", "iou"), [(0.4, 1), (0.5, 1 / 2), (0.35, 2 / 3)])
    def test_the_mask_is_what_exceeds_the_threshold(self, threshold, iou):
        """Confidences .8, .45, .38 and .1, of which the first two are the object."""
        logits = logit_of([0.8, 0.45, 0.38, 0.1]).reshape((1, 1, 2, 2))
        mask = array([1, 1, 0, 0]).reshape((1, 1, 2, 2))
        assert mask_iou(logits, mask, threshold).asscalar() == pytest.approx(iou)


class TestInstanceStage:
    """Two images of two points; pixels have logit 0, or are certain."""

    certain = 50.0

    def network(self, images, points_yx):
        sure = self.certain
        logits = array([[0, 0], [sure, -sure], [sure, -sure], [sure, -sure]])
        class_logits = array([[[sure, sure], [-sure, -sure]], [[0, 0], [0, 0]]])  # (B, C, W)
        return logits.reshape((4, 1, 1, 2)), class_logits.reshape((2, 2, 1, 2))

    @pytest.mark.parametrize(("loss", "alpha"), [("nfl", 0.5), ("bce", 1)])
    def test_mean_over_points_plus_the_semantic_loss(self, loss, alpha):
        stage = InstanceStage(self.network, loss)
        masks = np.zeros((2, 2, 1, 2))
        masks[..., 0] = 1
        value, scalars = stage.losses(
            mx.nd.zeros((2, 3, 1, 2)), mx.nd.zeros((2, 2, 2)), array(masks), mx.nd.zeros((2, 1, 2))
        )
        # image 0: one of two points unknown; image 1: both right, but no class known
        np.testing.assert_allclose(value.asnumpy(), [alpha * LN2 / 2, 0.75 * LN2], rtol=1e-5)
        assert scalars["loss/instance"].asscalar() == pytest.approx(alpha * LN2 / 4, rel=1e-5)
        assert scalars["loss/semantic"].asscalar() == pytest.approx(LN2 / 2, rel=1e-5)
        assert scalars["iou"].asscalar() == pytest.approx(3 / 4)  # logit 0 is not in the mask

    def test_the_logged_iou_is_of_inferences_masks(self):
        """At T = .4 the two unknown pixels are in the mask, of which one is the object: IoU 1/2."""
        stage = InstanceStage(self.network, mask_threshold=0.4)
        masks = np.zeros((2, 2, 1, 2))
        masks[..., 0] = 1
        _, scalars = stage.losses(
            mx.nd.zeros((2, 3, 1, 2)), mx.nd.zeros((2, 2, 2)), array(masks), mx.nd.zeros((2, 1, 2))
        )
        assert scalars["iou"].asscalar() == pytest.approx((1 / 2 + 1 + 1 + 1) / 4)


class Proposing:
    """Its mask from a point in column c is the first c + 1 pixels; image is 1 x 5."""

    def __init__(self, proposal_logits):
        self.proposal_logits = array(proposal_logits).reshape((-1, 1, 1, 5))
        self.proposal_logits.attach_grad()

    def encode(self, images):
        assert not autograd.is_recording()
        assert not autograd.is_training()

    def instances(self, encoded, points_yx):
        assert points_yx.shape[1] == 1
        columns = points_yx[:, :, 1].reshape((-1, 1, 1, 1))
        return columns + 0.5 - mx.nd.arange(5).reshape((1, 1, 1, 5))

    def proposals(self, encoded):
        assert autograd.is_training()
        return self.proposal_logits


class TestProposalStage:
    points_yx = array([[[0, c] for c in (4, 1, 3, 0, 2)]])

    @staticmethod
    def losses(network, points_yx, masks, **options):
        with autograd.record():
            loss, scalars = ProposalStage(network, **options).losses(
                mx.nd.zeros((len(masks), 3, 1, 5)), points_yx, array(masks), None
            )
        loss.backward()
        gradient = network.proposal_logits.grad.asnumpy().reshape(-1, 5)
        return loss.asnumpy(), scalars, gradient

    def test_the_point_of_the_best_mask_is_the_good_one(self):
        """The object is the first two pixels, so the point in column 1 has IoU 1."""
        network = Proposing([0, np.log(3), 0, 0, 0])
        loss, scalars, gradient = self.losses(network, self.points_yx, [[[[1, 1, 0, 0, 0]]]])
        assert loss == pytest.approx((np.log(4 / 3) + 4 * LN2) / 5)
        expected = np.array([[1 / 2, -1 / 4, 1 / 2, 1 / 2, 1 / 2]]) / 5
        np.testing.assert_allclose(gradient, expected, rtol=1e-5)
        mean_iou = (2 / 5 + 1 + 2 / 4 + 1 / 2 + 2 / 3) / 5
        assert scalars["iou"].asscalar() == pytest.approx(mean_iou)

    def test_points_are_judged_at_inferences_threshold(self):
        """Logits fall by 1 a column: at T = .75 (logit 1.1) masks are a column shorter than at .5,
        and it is the point in column 2 whose mask is the object's two pixels."""
        network = Proposing([0, 0, 0, 0, 0])
        masks = [[[[1, 1, 0, 0, 0]]]]
        _, scalars, gradient = self.losses(network, self.points_yx, masks, mask_threshold=0.75)
        expected = np.array([[1 / 2, 1 / 2, -1 / 2, 1 / 2, 1 / 2]]) / 5
        np.testing.assert_allclose(gradient, expected, rtol=1e-5)
        mean_iou = (2 / 4 + 1 / 2 + 2 / 3 + 0 + 1) / 5  # of the points in columns 4, 1, 3, 0, 2
        assert scalars["iou"].asscalar() == pytest.approx(mean_iou)

    def test_the_authors_labels(self):
        """IoU times mean confidence, on the object's two pixels, of the points in columns 4, 1, 3,
        0, 2, whose logits there are 4.5 and 3.5, 1.5 and .5, ..."""
        network = Proposing([0, 0, 0, 0, 0])
        masks = [[[[1, 1, 0, 0, 0]]]]
        _, _, gradient = self.losses(network, self.points_yx, masks, labels="authors")

        def confidence(column):
            logits = np.array([column + 0.5, column - 0.5])
            return (1 / (1 + np.exp(-logits))).mean()

        columns, ious = np.array([0, 1, 2, 3, 4]), np.array([1 / 2, 1, 2 / 3, 2 / 4, 2 / 5])
        labels = authors_labels(ious, np.array([confidence(c) for c in columns]))
        assert len(set(labels.tolist())) > 2
        np.testing.assert_allclose(gradient, [(1 / 2 - labels) / 5], rtol=1e-5)

    @pytest.mark.parametrize("labels", ["paper", "authors"])
    def test_an_image_without_objects_counts_nowhere(self, labels):
        network = Proposing([[5, 5, 5, 5, 5], [0, 0, 0, 0, 0]])
        points_yx = mx.nd.concat(mx.nd.zeros((1, 5, 2)), self.points_yx, dim=0)
        masks = [[[[IGNORED] * 5]], [[[1, 1, 1, 1, 1]]]]
        loss, scalars, gradient = self.losses(network, points_yx, masks, labels=labels)
        if labels == "authors":
            assert loss[0] == 0
            np.testing.assert_array_equal(gradient[0], 0)
            return
        # masks of 5, 2, 4, 1 and 3 of the object's 5 pixels
        assert scalars["iou"].asscalar() == pytest.approx((5 + 2 + 4 + 1 + 3) / 25)
        np.testing.assert_allclose(loss, [0, LN2], rtol=1e-6)
        np.testing.assert_array_equal(gradient[0], 0)
        np.testing.assert_allclose(gradient[1], np.array([1, 1, 1, 1, -1]) / 10, rtol=1e-5)


class LeftHalf:
    """Finds an object in the left half of the image, wherever the point is."""

    def encode(self, images):
        return images

    def semantics(self, images):
        """Class 1 in the left half, 0 in the right."""
        right = mx.nd.arange(images.shape[3]).reshape((1, 1, 1, -1)) >= images.shape[3] // 2
        right = mx.nd.broadcast_like(right, images[:, :1])
        return mx.nd.concat(right, 1 - right, dim=1)

    def instances(self, images, points_yx):
        height, width = images.shape[2:]
        every = mx.nd.ones((points_yx.shape[1], 1, height, 1))
        return width / 2 - 0.5 - mx.nd.arange(width).reshape((1, 1, 1, -1)) * every


class TestValidation:
    config = EasyDict(
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        min_area=2,
        inference={"greedy": {"mask_threshold": 0.5}},
    )

    @staticmethod
    def sample(instance_map, crowds=()):
        instance_map = np.array(instance_map, np.int32)
        ids = np.unique(instance_map[instance_map > 0]).tolist()
        return Sample(
            name="drawn",
            image=np.zeros((*instance_map.shape, 3), np.uint8),
            semantic_map=(instance_map > 0).astype(np.int32),
            instance_map=instance_map,
            instances={i: Instance(1, iscrowd=i in crowds) for i in ids},
        )

    def test_mean_over_objects(self):
        """IoUs 1, 1/2 and 0; a crowd and a scrap of one pixel don't count."""
        dataset = [
            self.sample([[1, 1, 0, 0], [1, 1, 0, 0]]),
            self.sample([[5, 5, 3, 3], [0, 0, 3, 3]], crowds=[3]),
            self.sample([[0, 0, 0, 0], [0, 0, 0, 0]]),
            self.sample([[7, 0, 2, 2], [0, 0, 2, 0]]),
        ]
        iou = validate(LeftHalf(), dataset, self.config, mx.cpu(), 9)[0]["iou"]
        # object 5's neighbour is ignored; object 2 has nothing in the left half
        assert iou == pytest.approx((1 + 1 / 2 + 0) / 3)

    def test_images_are_scaled_as_for_inference(self):
        config = EasyDict(self.config, inference={**self.config.inference, "shortest_side": 4})
        dataset = [self.sample([[1, 1, 0, 0], [1, 1, 0, 0]])]
        metrics, picture, _ = validate(LeftHalf(), dataset, config, mx.cpu(), 9)
        assert metrics["iou"] == metrics["miou"] == 1
        assert picture.shape == (4, 3 * 8, 3)

    def test_masks_are_those_of_inference(self):
        """Logits fall by 1 a column from 1.5: above .75 only the first column's."""
        config = EasyDict(self.config, inference={"greedy": {"mask_threshold": 0.75}})
        dataset = [self.sample([[1, 1, 0, 0], [1, 1, 0, 0]])]
        metrics, picture, _ = validate(LeftHalf(), dataset, config, mx.cpu(), 9)
        assert metrics["iou"] == pytest.approx(1 / 2)
        assert picture[:, 8:].any(axis=2).tolist() == [[True, False, False, False]] * 2

    def test_nothing_to_find(self):
        """Class 0 is found in one of two pixels, class 1 in none."""
        metrics, *_ = validate(LeftHalf(), [self.sample([[0, 0]])], self.config, mx.cpu(), 9)
        assert metrics == {"iou": 0, "miou": pytest.approx(1 / 4), "score": pytest.approx(1 / 8)}

    def test_classes_count_as_much_as_objects(self):
        """Of class 0 6 of 7 pixels are found, of class 1 all 4 and one more; void doesn't count."""
        sample = self.sample([[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]])
        sample.semantic_map[1, 2] = IGNORED
        metrics, *_ = validate(LeftHalf(), [sample], self.config, mx.cpu(), 9)
        assert metrics["iou"] == pytest.approx(4 / 6)  # to an object's mask it is background
        assert metrics["miou"] == pytest.approx((6 / 7 + 4 / 5) / 2)
        assert metrics["score"] == pytest.approx((metrics["iou"] + metrics["miou"]) / 2)

    def test_the_point_the_proposal_branch_likes_best(self):
        """The mask is what lies left of the point: in column 2 that is the object."""

        class LeftOfThePoint:
            encode = staticmethod(lambda images: images)
            proposals = staticmethod(lambda images: array([[[[9, 1, 2, 0], [9, 0, 0, 3]]]]))

            def instances(self, images, points_yx):
                columns = mx.nd.arange(4).reshape((1, 1, 1, 4)) * mx.nd.ones((8, 1, 2, 1))
                return points_yx[0, :, 1].reshape((8, 1, 1, 1)) + 0.5 - columns

        dataset = [self.sample([[1, 1, 1, 0], [1, 1, 1, 0]])]
        dataset[0].instance_map[:, 0] = 0  # where the branch would like it more
        metrics, *_ = validate(LeftOfThePoint(), dataset, self.config, mx.cpu(), 9, proposed=True)
        assert metrics == {"iou": pytest.approx(4 / 6), "score": pytest.approx(4 / 6)}

    def test_images_are_spread_over_the_data_set(self):
        right, wrong = self.sample([[1, 1, 0, 0]]), self.sample([[0, 0, 1, 1]])
        dataset = [right, right, wrong, right, right]
        assert validate(LeftHalf(), dataset, self.config, mx.cpu(), 3)[0]["iou"] == 2 / 3
        assert validate(LeftHalf(), dataset, self.config, mx.cpu(), 2)[0]["iou"] == 1


@pytest.mark.parametrize(
    ("length", "count", "expected"),
    [(5, 3, [0, 2, 4]), (500, 2, [0, 499]), (3, 9, [0, 1, 2]), (9, 1, [0]), (1, 1, [0])],
)
def test_spread(length, count, expected):
    assert spread(length, count) == expected
