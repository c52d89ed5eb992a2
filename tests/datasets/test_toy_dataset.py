from __future__ import annotations

import cv2
import numpy as np
import pytest

from adaptis import image_files
from datasets.base import DataError, Instance, Sample
from datasets.skip_broken import SkipBroken
from datasets.toy import (
    HARDEST,
    Degradation,
    ToyAugmentation,
    ToyDataset,
    degrade,
    draw_degradation,
)
from datasets.toy_generator import generate

IDS = np.array([[0, 0, 3], [7, 7, 3]], np.uint8)
RGB = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)


def write_pair(root, name="a", image=RGB, ids=IDS, split="train"):
    (root / split).mkdir(exist_ok=True)
    bgr = image[..., ::-1] if image.ndim == 3 and image.shape[2] == 3 else image
    cv2.imwrite(str(root / split / f"{name}_rgb.png"), bgr)
    cv2.imwrite(str(root / split / f"{name}_im.png"), ids)


class TestToyDataset:
    def test_sample(self, tmp_path):
        write_pair(tmp_path)
        dataset = ToyDataset(tmp_path, "train")
        sample = dataset[0]
        assert (dataset.name, dataset.names, len(dataset)) == ("toy", ["a"], 1)
        assert sample.name == "a"
        np.testing.assert_array_equal(sample.image, RGB)
        np.testing.assert_array_equal(sample.instance_map, IDS)
        np.testing.assert_array_equal(sample.semantic_map, [[0, 0, 1], [1, 1, 1]])
        assert sample.instances == {3: Instance(1), 7: Instance(1)}
        assert sample.image.dtype == np.uint8
        assert sample.instance_map.dtype == sample.semantic_map.dtype == np.int32

    def test_classes_are_stuff_first(self):
        assert [(c.name, c.category_id, c.isthing) for c in ToyDataset.classes] == [
            ("background", 1, False),
            ("object", 2, True),
        ]

    def test_16_bit_ids(self, tmp_path):
        write_pair(tmp_path, ids=IDS.astype(np.uint16) * 1000)
        assert set(ToyDataset(tmp_path, "train")[0].instances) == {3000, 7000}

    def test_no_objects(self, tmp_path):
        write_pair(tmp_path, ids=np.zeros((2, 3), np.uint8))
        sample = ToyDataset(tmp_path, "train")[0]
        assert sample.instances == {}
        assert not sample.semantic_map.any()

    def test_reads_what_the_generator_writes(self, tmp_path):
        generate(tmp_path, 2, 1, workers=1)
        for split, names in (("train", ["00000", "00001"]), ("test", ["00000"])):
            dataset = ToyDataset(tmp_path, split)
            assert dataset.names == names
            for sample in (dataset[i] for i in range(len(dataset))):
                assert sample.image.shape == (96, 96, 3)
                assert list(sample.instances) == list(range(1, sample.instance_map.max() + 1))

    def test_indices_behave_like_a_list(self, tmp_path):
        for name in "ba":
            write_pair(tmp_path, name)
        dataset = ToyDataset(tmp_path, "train")
        assert [sample.name for sample in dataset] == ["a", "b"]
        assert dataset[-1].name == "b"

    def test_cache_answers_alike_and_survives_its_users(self, tmp_path):
        write_pair(tmp_path)
        dataset = ToyDataset(tmp_path, "train", cache=True)
        first = dataset[0]
        first.image[:], first.instance_map[:] = 0, 0
        (tmp_path / "train/a_rgb.png").unlink()
        np.testing.assert_array_equal(dataset[0].image, RGB)
        np.testing.assert_array_equal(dataset[0].instance_map, IDS)

    @pytest.mark.parametrize("channels", [1, 4])
    def test_gray_and_alpha_become_rgb(self, tmp_path, channels):
        image = np.full((2, 3, channels), 9, np.uint8)
        write_pair(tmp_path, image=image)
        np.testing.assert_array_equal(ToyDataset(tmp_path, "train")[0].image, np.full((2, 3, 3), 9))


class TestBadInput:
    """Every message names the file or folder and says what to do."""

    @pytest.mark.parametrize("root", ["", "missing"])
    def test_no_folder(self, tmp_path, root):
        with pytest.raises(DataError, match=r"no such folder \(python -m") as error:
            ToyDataset(tmp_path / root, "test")
        assert error.value.path == tmp_path / root / "test"

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ('{"train": 1, "seed": 0}', "images of the generator's version 1, and this is 2"),
            ('{"generator": 3}', "version 3, and this is 2"),
            ("[]", "version None"),
            ("{", "not readable as JSON"),
        ],
    )
    def test_images_of_another_version_of_the_generator(self, tmp_path, text, problem):
        write_pair(tmp_path)
        ToyDataset(tmp_path, "train")  # a download has no toy.json
        (tmp_path / "toy.json").write_text(text)
        with pytest.raises(DataError, match=rf"{problem}.*delete the folder") as error:
            ToyDataset(tmp_path, "train")
        assert error.value.path == tmp_path / "toy.json"

    def test_no_images(self, tmp_path):
        write_pair(tmp_path, split="test")
        (tmp_path / "test/a_rgb.png").unlink()
        with pytest.raises(DataError, match=r"no \*_rgb\.png"):
            ToyDataset(tmp_path, "test")

    def test_files_without_counterpart_fail_when_read(self, tmp_path):
        for name in "abc":
            write_pair(tmp_path, name)
        (tmp_path / "train/a_im.png").unlink()
        (tmp_path / "train/c_rgb.png").unlink()
        dataset = ToyDataset(tmp_path, "train")
        assert dataset.names == ["a", "b", "c"]
        assert dataset[1].name == "b"
        for index, missing in ((0, "a_im.png"), (2, "c_rgb.png")):
            with pytest.raises(DataError, match=r"can't be read: is missing") as error:
                dataset[index]
            assert error.value.path == tmp_path / "train" / missing

    def test_skip_broken_replaces_them(self, tmp_path, capsys):
        for name in "abc":
            write_pair(tmp_path, name)
        (tmp_path / "train/a_im.png").unlink()
        (tmp_path / "train/c_rgb.png").unlink()
        assert [sample.name for sample in SkipBroken(ToyDataset(tmp_path, "train"))] == ["b"] * 3
        assert "left out, 2 of 3" in capsys.readouterr().err

    def test_ids_of_another_size(self, tmp_path):
        write_pair(tmp_path, ids=IDS[:1])
        with pytest.raises(DataError, match=r"a_rgb\.png: the image is 2 x 3 .*, its label 1 x 3"):
            ToyDataset(tmp_path, "train")[0]

    @pytest.mark.parametrize("suffix", ["_rgb.png", "_im.png"])
    @pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "text"])
    def test_broken_files(self, tmp_path, suffix, damage):
        rng = np.random.default_rng(0)
        ids = rng.integers(0, 256, (50, 50), np.uint8)
        write_pair(tmp_path, image=rng.integers(0, 256, (50, 50, 3), np.uint8), ids=ids)
        path = tmp_path / f"train/a{suffix}"
        data = bytearray(path.read_bytes())
        data[-14] ^= 1  # in the checksum of the pixels: IEND after it takes 12 bytes
        whole = path.read_bytes()
        broken = {"empty": b"", "cut": whole[: len(whole) // 2], "flipped": data, "text": b"<html>"}
        path.write_bytes(broken[damage])
        with pytest.raises(DataError, match=f"a{suffix}: can't be read: .*copy or"):
            ToyDataset(tmp_path, "train")[0]

    @pytest.mark.parametrize("suffix", ["_rgb.png", "_im.png"])
    def test_more_pixels_than_allowed(self, tmp_path, monkeypatch, suffix):
        write_pair(tmp_path)
        big = np.zeros((5, 5), np.uint8)
        cv2.imwrite(str(tmp_path / f"train/a{suffix}"), big)
        monkeypatch.setattr(image_files, "MAX_FILE_PIXELS", 24)
        with pytest.raises(DataError, match=rf"a{suffix}: is 5 x 5 .*, at most 24 pixels.*cut it"):
            ToyDataset(tmp_path, "train")[0]

    def test_color_ids(self, tmp_path):
        write_pair(tmp_path, ids=RGB)
        with pytest.raises(DataError, match=r"a_im\.png: is RGB, a label image has one"):
            ToyDataset(tmp_path, "train")[0]

    def test_16_bit_gray_image(self, tmp_path):
        """Of which the upper 8 are taken, see TestReadImage in test_files.py."""
        write_pair(tmp_path, image=np.full((2, 3), 200 * 256 + 9, np.uint16))
        assert (ToyDataset(tmp_path, "train")[0].image == 200).all()


class TestDegrade:
    gray = np.full((200, 200, 3), 128, np.uint8)

    def test_nothing_asked_nothing_done(self):
        image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
        same = degrade(image, Degradation(1, 0), np.random.default_rng(0))
        np.testing.assert_array_equal(same, image)

    def test_noise_is_gray_and_has_the_std_asked_for(self):
        noisy = degrade(self.gray, Degradation(4, 20), np.random.default_rng(0))
        np.testing.assert_array_equal(noisy[..., 0], noisy[..., 1])
        np.testing.assert_array_equal(noisy[..., 0], noisy[..., 2])
        assert noisy[..., 0].std() == pytest.approx(20, abs=0.3)
        assert noisy.mean() == pytest.approx(128, abs=0.3)

    @pytest.mark.parametrize(("size", "where"), [(2, (20, 22)), (3, (19, 22)), (4, (19, 23))])
    def test_blur_is_a_box_and_an_even_one_moves_half_a_pixel(self, size, where):
        image = np.zeros((41, 41, 3), np.uint8)
        image[20, 20] = 240
        expected = np.zeros_like(image)
        expected[slice(*where), slice(*where)] = np.rint(240 / size**2)
        blurred = degrade(image, Degradation(size, 0), np.random.default_rng(0))
        np.testing.assert_array_equal(blurred, expected)

    def test_drawn_as_by_the_authors(self):
        rng = np.random.default_rng(0)
        sizes, stds = np.array([draw_degradation(rng) for _ in range(4000)]).T
        counts = {size: (sizes == size).mean() for size in (1, 2, 3, 4)}
        assert counts == pytest.approx({1: 1 / 2, 2: 1 / 6, 3: 1 / 6, 4: 1 / 6}, abs=0.03)
        assert (stds == 0).mean() == pytest.approx(0.5, abs=0.03)
        assert stds[stds > 0].min() == pytest.approx(10, abs=0.1)
        assert stds.max() == pytest.approx(40, abs=0.1)
        assert stds[stds > 0].mean() == pytest.approx(25, abs=1)
        assert np.corrcoef(sizes > 1, stds > 0)[0, 1] == pytest.approx(0, abs=0.05)

    def test_hardest(self):
        assert HARDEST == (4, 40)


class TestToyAugmentation:
    sample = Sample("a", RGB, (IDS > 0).astype(np.int32), IDS.astype(np.int32), {3: Instance(1)})

    def test_draws_the_four_flips_and_moves_all_maps_alike(self, monkeypatch):
        monkeypatch.setattr("datasets.toy.draw_degradation", lambda rng: Degradation(1, 0))
        augment = ToyAugmentation()
        flips = {
            (y, x): (RGB[::y, ::x], self.sample.semantic_map[::y, ::x], IDS[::y, ::x])
            for y in (1, -1)
            for x in (1, -1)
        }
        seen = set()
        for seed in range(40):
            out = augment(self.sample, np.random.default_rng(seed))
            maps = (out.image, out.semantic_map, out.instance_map)
            matching = [
                flip
                for flip, expected in flips.items()
                if all(np.array_equal(a, b) for a, b in zip(maps, expected))
            ]
            assert len(matching) == 1
            seen.update(matching)
            assert (out.name, out.instances) == ("a", self.sample.instances)
        assert seen == set(flips)

    def test_blur_moves_the_image_one_way_whatever_the_flip(self, monkeypatch):
        monkeypatch.setattr("datasets.toy.draw_degradation", lambda rng: Degradation(2, 0))
        ids = np.zeros((9, 9), np.int32)
        ids[4, 4] = 1  # the middle stays where it is when flipped
        image = np.uint8(200) * np.repeat(ids[..., None], 3, axis=2).astype(np.uint8)
        sample = Sample("a", image, ids, ids, {1: Instance(1)})
        for seed in range(10):
            out = ToyAugmentation()(sample, np.random.default_rng(seed))
            assert np.argwhere(out.image[..., 0]).tolist() == [[4, 4], [4, 5], [5, 4], [5, 5]]

    def test_jpeg_halves_the_resolution_of_colours_alone(self, monkeypatch):
        """Columns of red and blue of equal luma: of the colours their mean is left."""
        monkeypatch.setattr("datasets.toy.draw_degradation", lambda rng: Degradation(1, 0))
        image = np.zeros((16, 16, 3), np.uint8)
        image[:, ::2, 0], image[:, 1::2, 2] = 76, 200  # .299 * 76 = .114 * 200
        ids = np.zeros((16, 16), np.int32)
        sample = Sample("a", image, ids, ids, {})
        compressed = [
            ToyAugmentation(None, 0.25)(sample, np.random.default_rng(seed)).image
            for seed in range(80)
        ]
        changed = [im for im in compressed if im[..., 0].std() < 20]  # 38 between 0 and 76
        assert 10 < len(changed) < 30
        for im in changed:
            np.testing.assert_allclose(im.mean(axis=(0, 1)), (38, 0, 100), atol=8)
            assert im.dtype == np.uint8

    def test_the_generator_decides_everything(self):
        augment = ToyAugmentation()
        first, again, other = (
            augment(self.sample, np.random.default_rng(seed)).image for seed in (0, 0, 1)
        )
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)
        np.testing.assert_array_equal(self.sample.image, np.arange(18).reshape(2, 3, 3))
