"""Values of any depth become 8 bits, by rules whose results are known by hand."""

from __future__ import annotations

import argparse
import tracemalloc

import numpy as np
import pytest

from adaptis.intensity import add_intensity_option, to_rgb8


def ramp(low, high, dtype):
    """1001 values in even steps."""
    return np.linspace(low, high, 1001).astype(dtype).reshape(7, 143)


@pytest.mark.parametrize(
    "pixels",
    [
        ramp(0, 40, np.uint8),  # dim
        ramp(0, 4095, np.uint16),  # 12 bits in 16
        ramp(30_000, 65_535, np.uint16),
        ramp(-5, 2e9, np.int32),
        ramp(-0.01, 0.02, np.float32),
    ],
    ids=lambda pixels: str(pixels.dtype),
)
def test_percentiles_fill_the_range(pixels):
    image = to_rgb8(pixels, "percentile")
    assert image.shape == (7, 143, 3)
    assert image.dtype == np.uint8
    assert (image[..., 0] == image[..., 1]).all()
    assert (image.min(), image.max()) == (0, 255)
    assert np.median(image) == pytest.approx(255 * 49 / 98.8, abs=5)  # (50 - 1) / (99.8 - 1)


def test_full_range_of_the_type():
    for pixels in (np.uint8([[0, 51, 255]]), np.uint16([[0, 13107, 65535]])):
        assert to_rgb8(pixels, "full")[0, :, 0].tolist() == [0, 51, 255]
    rounded = np.float32([[-0.001, 0, 0.2, 1, 1.001]])  # by whoever wrote it
    assert to_rgb8(rounded, "full")[0, :, 0].tolist() == [0, 0, 51, 255, 255]


@pytest.mark.parametrize("intensity", ["full", "percentile", [0, 255]])
def test_bits_are_black_and_white(intensity):
    assert to_rgb8(np.array([[True, False]]), intensity)[0, :, 0].tolist() == [255, 0]


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        ([3, 254.5], "from 3 to 254.5, .* give --intensity 0 255, or percentile"),
        ([0, 4000], "from 0 to 4000, .* give --intensity 0 4095, or percentile"),
        ([-1, 1], "from -1 to 1, .* give --intensity -1 1, or percentile"),
        ([0.5, 1.5], r"from 0\.5 to 1\.5, .* give --intensity 0 1\.5, or percentile"),
        ([0, 1e300], r"from 0 to 1e\+300, .* give --intensity 0 1e\+300, or percentile"),
    ],
)
def test_floats_beyond_the_full_range(values, remedy):
    with pytest.raises(ValueError, match=rf"^values {remedy}$"):
        to_rgb8(np.array([values], float), "full")


def test_numbers_below_zero_are_beyond_it_too():
    assert to_rgb8(np.int16([[0, 32767]]), "full")[0, :, 0].tolist() == [0, 255]
    message = "from -1000 to 1000, .* whole numbers from 0 on: give --intensity -1000 1023, or perc"
    with pytest.raises(ValueError, match=message):
        to_rgb8(np.int16([[-1000, 1000]]), "full")


class TestNearlyBlack:
    @pytest.fixture(autouse=True)
    def nothing_said_before(self, monkeypatch):
        monkeypatch.setattr("adaptis.intensity._said_dark", False)

    def test_it_is_said_once(self, capsys):
        for _ in range(2):
            assert to_rgb8(np.uint16([[0, 4095]]), "full").max() == 16
        assert capsys.readouterr().err == (
            "an image's values end at 4095 of uint16's 65535, so that --intensity full makes it "
            "nearly black: give --intensity 0 4095, or percentile\n"
        )

    def test_of_a_stated_range_too(self, capsys):
        """As that of 16 bits, stored in the weights, makes an image of 8."""
        assert to_rgb8(np.uint8([[3, 200]]), [0, 65535]).max() == 1
        assert capsys.readouterr().err == (
            "an image's values end at 200, so that --intensity 0 65535 makes it nearly black: "
            "give --intensity 0 255, or percentile\n"
        )

    @pytest.mark.parametrize(
        ("pixels", "intensity"),
        [
            (np.uint16([[0, 8192]]), "full"),  # an eighth
            (np.uint16([[0, 0]]), "full"),
            (np.uint8([[0, 9]]), "full"),
            (np.uint16([[0, 9]]), "percentile"),
            (np.uint16([[0, 9]]), [0, 72]),
            (np.uint16([[7, 7]]), [0, 4095]),
        ],
    )
    def test_of_others_nothing(self, pixels, intensity, capsys):
        to_rgb8(pixels, intensity)
        assert not capsys.readouterr().err


def test_stated_range():
    pixels = np.uint16([[50, 100, 200, 300, 5000]])
    assert to_rgb8(pixels, [100, 300])[0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_images_taller_than_what_is_scaled_at_once():
    pixels = np.arange(1021, dtype=np.uint16)[:, None]
    image = to_rgb8(pixels, [0, 1020])
    np.testing.assert_array_equal(image[:, 0, 0], np.rint(np.arange(1021) / 4))


def test_memory_is_bounded():
    """Twice the image at most, however many bytes a float has."""
    pixels = np.zeros((20_000, 200, 3), np.uint8)
    for intensity in ("full", "percentile", [0, 9]):
        tracemalloc.start()
        to_rgb8(pixels, intensity)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2.5 * pixels.nbytes


def test_colours_keep_their_balance_and_alpha_is_dropped():
    pixels = np.zeros((10, 10, 4), np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 3] = 100, 50, 255
    assert to_rgb8(pixels, [0, 100])[0, 0].tolist() == [255, 128, 0]
    grey_alpha = np.dstack([np.full((4, 4), 100, np.uint8), np.zeros((4, 4), np.uint8)])
    assert to_rgb8(grey_alpha, [0, 100])[0, 0].tolist() == [255] * 3


def test_a_bright_spot_on_black_stays_bright():
    """It is less than the 0.2 % that percentiles cut off."""
    pixels = np.zeros((100, 100), np.uint8)
    pixels[50, 50] = 40
    assert to_rgb8(pixels, "percentile")[50, 50].tolist() == [255] * 3


def test_a_constant_image_is_black():
    assert not to_rgb8(np.full((5, 5), 7, np.uint8), "percentile").any()


@pytest.mark.parametrize("shape", [(0, 4), (4,), (2, 3, 4, 5), (4, 4, 7)])
def test_other_shapes(shape):
    with pytest.raises(ValueError, match="shape"):
        to_rgb8(np.zeros(shape, np.uint8), "percentile")


def test_other_types():
    with pytest.raises(ValueError, match=r"^pixels are complex64; whole numbers or floats"):
        to_rgb8(np.ones((2, 2), np.complex64), "percentile")


def test_no_finite_numbers():
    with pytest.raises(ValueError, match="1 values are no finite numbers"):
        to_rgb8(np.float32([[1, np.nan]]), "percentile")


class TestOption:
    def parse(self, *arguments):
        parser = argparse.ArgumentParser(exit_on_error=False)
        add_intensity_option(parser)
        return parser.parse_args(arguments).intensity

    def test_values(self):
        assert self.parse() == "percentile"
        assert self.parse("--intensity", "full") == "full"
        assert self.parse("--intensity", "100", "4e3") == [100, 4000]

    @pytest.mark.parametrize(
        "values", [["bright"], ["1"], ["9", "9"], ["1", "nan"], ["1", "2", "3"]]
    )
    def test_others_are_refused(self, values):
        with pytest.raises(
            argparse.ArgumentError, match="percentile, full, or two values LOW HIGH"
        ):
            self.parse("--intensity", *values)
