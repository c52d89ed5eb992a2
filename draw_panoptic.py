"""Draw figures of an evaluation from its folder: the images of lowest PQ (Figure 12), and with
--images their panoptic segmentation beside the confidences of their largest objects (Figure 6)."""

from __future__ import annotations

import argparse
from pathlib import Path

from adaptis.arguments import NOTHING_KEPT, HelpFormatter, run_script
from adaptis.values import COUNT


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    add = parser.add_argument
    add("output", help="folder of the evaluation, test_panoptic.py --output")
    add("--lowest", type=COUNT, default=6, help="number of images of lowest PQ to draw")
    add(
        "--images",
        nargs="+",
        default=[],
        metavar="NAME",
        help="draw confidences in images of these names",
    )
    add(
        "--objects",
        type=COUNT,
        default=3,
        help="number of objects an image, the largest; with --images",
    )
    add("--classes", nargs="+", metavar="NAME", help="only objects of these classes; with --images")
    add("--weights", help="those of the evaluation; --images needs them")
    add("--ctx", default="cpu", help='"cpu" or a GPU id')
    args = parser.parse_args(arguments)
    if args.images and not args.weights:
        parser.error("--images needs --weights, those of the evaluation")

    # these bring MXNet, for which --help needn't wait
    from adaptis.errors import ResultsError
    from adaptis.evaluation.collect import read_metrics
    from adaptis.evaluation.figures import save_confidences, save_lowest
    from adaptis.evaluation.results import PredictionFolder
    from adaptis.evaluation.tables import markdown_table, percent
    from adaptis.inference.predictor import AdaptISPredictor
    from adaptis.inference.settings import InferenceSettings
    from adaptis.intensity import READING
    from datasets.formats import open_dataset

    output, metrics = Path(args.output), read_metrics(args.output, scored=not args.images)
    pictures = output / "pictures"
    reading = {key: metrics[key] for key in READING if key in metrics}
    dataset = open_dataset(metrics["dataset"], metrics["data_root"], metrics["split"], **reading)
    if not args.images:
        folder = PredictionFolder(metrics.get("predictions", output / "predictions"))
        lowest = save_lowest(dataset, output, folder, args.lowest, pictures / "lowest_pq.png")
        print(markdown_table(["Image", "PQ"], [[name, percent(pq)] for name, pq in lowest]))
        print(f"\n{pictures / 'lowest_pq.png'}")
        return
    predictor = AdaptISPredictor.load(args.weights, args.ctx)
    if predictor.weights_sha256 != metrics.get("weights_sha256"):
        raise ResultsError(f"{args.weights}: aren't the weights that {output} evaluated")
    if unknown := set(args.images) - set(dataset.names):
        raise ResultsError(f"{metrics['data_root']}: has no images {sorted(unknown)}")
    by_name = {info.name: info.category_id for info in dataset.classes if info.isthing}
    if unknown := set(args.classes or ()) - set(by_name):
        raise ResultsError(f"no thing classes {sorted(unknown)}; there are {sorted(by_name)}")
    category_ids = args.classes and [by_name[name] for name in args.classes]
    predictor.settings = InferenceSettings.from_description(metrics["settings"])
    images = [dataset[dataset.names.index(name)].image for name in args.images]
    save_confidences(predictor, images, args.objects, category_ids, pictures / "confidences.png")
    print(pictures / "confidences.png")


if __name__ == "__main__":
    run_script(main, NOTHING_KEPT)
