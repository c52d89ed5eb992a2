"""Several evaluations in one table a data set, below the paper's rows: Tables 1, 2, 3 and 5.

python -m adaptis.evaluation.collect outputs/resnet50 outputs/resnet101
"""

from __future__ import annotations

import argparse
from pathlib import Path

from adaptis.arguments import NOTHING_KEPT, HelpFormatter, run_script
from adaptis.errors import ResultsError
from adaptis.evaluation.tables import paper_table
from adaptis.json_types import FormatError, parse_json


def collect(runs: list[str]) -> str:
    """The tables in Markdown, in the order in which their data sets come.

    Parameters:
        runs: folders of evaluations; a row is called by its folder.

    Raises ResultsError for a folder without metrics, or whose metrics are another program's.
    """
    by_dataset: dict[str, dict[str, dict]] = {}
    for run in runs:
        metrics = read_metrics(run)
        by_dataset.setdefault(metrics["dataset"], {})[run] = metrics
    return "\n\n".join(
        f"{dataset}\n\n{paper_table(dataset, of_dataset)}"
        for dataset, of_dataset in by_dataset.items()
    )


def read_metrics(run: Path | str, scored: bool = True) -> dict:
    """What an evaluation's folder says of it.

    Parameters:
        scored: all that a table shows must be there; else no more than its data set.

    Raises ResultsError where that is missing, or another program's.
    """
    path = Path(run, "metrics.json")
    try:
        metrics = parse_json(path.read_bytes())
        dataset, _, split = (metrics[key] for key in ("dataset", "data_root", "split"))
        if scored and "submission" in metrics:
            raise ResultsError(
                f"{path}: has no scores: split {split} of {dataset} isn't labelled, its server "
                "scores what is in submission/"
            )
        if scored:
            paper_table(dataset, {str(run): metrics})
    except FileNotFoundError as error:
        raise ResultsError(
            f"{path}: is missing; test_panoptic.py --output {run} writes it at its end"
        ) from error
    except (FormatError, KeyError, TypeError) as error:
        raise ResultsError(f"{path}: is no evaluation's: {error!r}; evaluate again") from error
    return metrics


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m adaptis.evaluation.collect",
        description=__doc__,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("runs", nargs="+", help="folders of evaluations, test_panoptic.py --output")
    print(collect(parser.parse_args(arguments).runs))


if __name__ == "__main__":
    run_script(main, NOTHING_KEPT)
