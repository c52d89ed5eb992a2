"""A data set in terms of another's classes, for validation files that list them otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from datasets.base import ClassInfo, DataError, Sample
from datasets.views import Selection

SHOWN = 5  # differences that a message names


def in_classes_of(train_set, validation_set):
    """The validation set with the training set's classes, matched by category id: itself where they
    are the same, in the same order.

    Raises DataError where a category isn't known to the training set, or has another name or kind
    there.
    """
    ours, theirs = train_set.classes, validation_set.classes
    known = {info.category_id: info for info in ours}
    problems = []
    for info in theirs:
        trained = known.get(info.category_id)
        if trained is None:
            problems.append(f"{_words(info)} is missing in training")
        elif (trained.name, trained.isthing) != (info.name, info.isthing):
            problems.append(f"{_words(info)} is {_words(trained)} in training")
    if problems:
        shown = "; ".join(problems[:SHOWN]) + ("; ..." if len(problems) > SHOWN else "")
        raise DataError(
            validation_set.image_path(0).parent,
            f"validation has other categories than training: {shown}",
            "let both list the same",
        )
    if [info.category_id for info in ours] == [info.category_id for info in theirs]:
        return validation_set
    return Renumbered(validation_set, ours)


class Renumbered(Selection):
    """A data set whose class indices are those of other classes with the same category ids.

    Parameters:
        dataset: any data set.
        classes: ClassInfos, among them one of each of the data set's category ids.
    """

    def __init__(self, dataset, classes: Sequence[ClassInfo]):
        super().__init__(dataset, range(len(dataset)))
        index_of = {info.category_id: index for index, info in enumerate(classes)}
        self._new_index = np.array([index_of[i.category_id] for i in dataset.classes], np.int32)
        self.classes = classes

    def __getitem__(self, index: int) -> Sample:
        sample, new_index = super().__getitem__(index), self._new_index
        labels = sample.semantic_map  # negative ones are no classes
        return replace(
            sample,
            semantic_map=np.where(labels < 0, labels, new_index[np.maximum(labels, 0)]),
            instances={
                id_: instance._replace(class_index=int(new_index[instance.class_index]))
                for id_, instance in sample.instances.items()
            },
        )


def _words(info: ClassInfo) -> str:
    return f"{info.category_id} ({info.name}, {'thing' if info.isthing else 'stuff'})"
