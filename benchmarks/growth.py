"""How time and memory grow: of an image with its objects, of a point with the image's area.

Draws both as ``growth.png`` beside the table.

python -m benchmarks.growth
"""

from __future__ import annotations

from adaptis.arguments import NOTHING_KEPT, run_script
from benchmarks import head, panoptic_image
from benchmarks.measure import benchmark_parser, measure, report

OBJECTS = (10, 30, 100, 300)  # in an image of SIZE
SIZE = (1024, 2048)
AREAS = ((128, 256), (256, 512), (512, 1024), (1024, 2048))  # height and width in pixels
BACKBONE = "resnet18_v1b"  # what grows is the head's and the greedy loop's


def main() -> None:
    args = benchmark_parser("growth", __doc__).parse_args()
    images, points = [], []
    for count in OBJECTS:
        case = (SIZE, count, False, BACKBONE)
        result = measure(panoptic_image.make, "ours", *case, runs=args.runs)
        objects = int(result.output[0].max())
        images.append({"objects": objects, "s": result.seconds, "MB": result.megabytes})
    for height, width in AREAS:
        network, _, _, *features = head.PANOPTIC
        result = measure(head.make, "ours", network, height, width, *features, runs=args.runs)
        milliseconds = 1000 * result.seconds / head.POINTS
        points.append(
            {"megapixels": height * width / 1e6, "ms": milliseconds, "MB": result.megabytes}
        )
    report("growth_objects", images, args.output)
    report("growth_area", points, args.output)

    from matplotlib.figure import Figure

    figure = Figure((12, 3.6), layout="constrained")
    panels = figure.subplots(1, 3)
    for axes, rows, x, y, title in (
        (panels[0], images, "objects", "s", "Seconds an image of 1024x2048"),
        (panels[1], images, "objects", "MB", "Memory of an image of 1024x2048, MB"),
        (panels[2], points, "megapixels", "ms", "Milliseconds a point"),
    ):
        xs, ys = ([row[name] for row in rows] for name in (x, y))
        axes.plot(xs, ys, "o-")
        axes.set(title=title, xlabel=x, ylim=(0, 1.1 * max(ys)), xlim=(0, 1.05 * max(xs)))
    figure.savefig(args.output / "growth.png", dpi=100)


if __name__ == "__main__":
    run_script(main, NOTHING_KEPT)
