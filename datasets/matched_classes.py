"""A data set in terms of another's classes, for validation files that list them otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from datasets.base import ClassInfo, DataError, Sample
from datasets.views import Selection

BACKGROUND_NAME = "background"
LIST_THE_SAME = "let both list the same"
SHOWN = 5  # differences that a message names


def in_classes_of(train_set, validation_set):
    """The validation set with the training set's classes, matched by category id, own images'
    background by its name: itself where they are the same, in the same order.

    Raises DataError where a category isn't known to the training set, or has another name or kind
    there.
    """
    ours, theirs = train_set.classes, validation_set.classes
    if problem := strangers(ours, theirs):
        folder = validation_set.image_path(0).parent
        raise DataError(folder, f"validation has {problem}", LIST_THE_SAME)
    if [identity(info) for info in ours] == [identity(info) for info in theirs]:
        return validation_set
    return Renumbered(validation_set, ours)


def strangers(ours: Sequence[ClassInfo], theirs: Sequence[ClassInfo]) -> str | None:
    """What is wrong with another data set's classes: not the training's, or of another name or kind
    there; None where each is one of the training's."""
    known = {identity(info): info for info in ours}
    problems = []
    for info in theirs:
        trained = known.get(identity(info))
        if trained is None:
            problems.append(f"{_words(info)} is missing in training")
        elif (trained.name, trained.isthing) != (info.name, info.isthing):
            problems.append(f"{_words(info)} is {_words(trained)} in training")
    if not problems:
        return None
    shown = "; ".join(problems[:SHOWN]) + ("; ..." if len(problems) > SHOWN else "")
    return f"other categories than training: {shown}"


def identity(info: ClassInfo) -> int | str:
    """What a class is known by in two lists: its category id, but for the background, which own
    images give the first id that their file leaves free."""
    return info.name if info.name == BACKGROUND_NAME and not info.isthing else info.category_id


class Renumbered(Selection):
    """A data set whose class indices are those of other classes.

    Parameters:
        dataset: any data set.
        classes: ClassInfos, among them each of the data set's by its ``identity``.
    """

    def __init__(self, dataset, classes: Sequence[ClassInfo]):
        super().__init__(dataset, range(len(dataset)))
        index_of = {identity(info): index for index, info in enumerate(classes)}
        self._new_index = np.array([index_of[identity(i)] for i in dataset.classes], np.int32)
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
