"""Small street-like scenes in the three data sets' own formats, to try readers and training on.

python -m datasets.synthetic --format cityscapes|coco|mapillary --out DIR --train N --val N --seed 0
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from cityscapesscripts.helpers.labels import name2label
from PIL import Image

from adaptis.arguments import HelpFormatter, run_script
from adaptis.progress import progress
from adaptis.values import COUNT, WHOLE
from datasets.mapillary import SPLIT_FOLDERS
from datasets.synthetic_scenes import KINDS, STUFF, THINGS, Scene, make_scene

# COCO's own category of each class: id, name.
COCO_CATEGORIES = {
    "sky": (187, "sky-other-merged"),
    "building": (197, "building-other-merged"),
    "vegetation": (184, "tree-merged"),
    "sidewalk": (191, "pavement-merged"),
    "road": (149, "road"),
    "person": (1, "person"),
    "car": (3, "car"),
    "bus": (6, "bus"),
}
# The 66 labels of Mapillary Vistas v1.2 in order; "+" marks the 37 that have instances.
_LABELS_TEXT = """
animal--bird+ animal--ground-animal+ construction--barrier--curb construction--barrier--fence
construction--barrier--guard-rail construction--barrier--other-barrier construction--barrier--wall
construction--flat--bike-lane construction--flat--crosswalk-plain+ construction--flat--curb-cut
construction--flat--parking construction--flat--pedestrian-area construction--flat--rail-track
construction--flat--road construction--flat--service-lane construction--flat--sidewalk
construction--structure--bridge construction--structure--building construction--structure--tunnel
human--person+ human--rider--bicyclist+ human--rider--motorcyclist+ human--rider--other-rider+
marking--crosswalk-zebra+ marking--general nature--mountain nature--sand nature--sky nature--snow
nature--terrain nature--vegetation nature--water object--banner+ object--bench+ object--bike-rack+
object--billboard+ object--catch-basin+ object--cctv-camera+ object--fire-hydrant+
object--junction-box+ object--mailbox+ object--manhole+ object--phone-booth+ object--pothole
object--street-light+ object--support--pole+ object--support--traffic-sign-frame+
object--support--utility-pole+ object--traffic-light+ object--traffic-sign--back+
object--traffic-sign--front+ object--trash-can+ object--vehicle--bicycle+ object--vehicle--boat+
object--vehicle--bus+ object--vehicle--car+ object--vehicle--caravan+ object--vehicle--motorcycle+
object--vehicle--on-rails object--vehicle--other-vehicle+ object--vehicle--trailer+
object--vehicle--truck+ object--vehicle--wheeled-slow+ void--car-mount void--ego-vehicle
void--unlabeled
"""
MAPILLARY_LABELS = _LABELS_TEXT.split()

MAPILLARY_KINDS = {
    "void": "void--unlabeled",
    "sky": "nature--sky",
    "building": "construction--structure--building",
    "vegetation": "nature--vegetation",
    "sidewalk": "construction--flat--sidewalk",
    "road": "construction--flat--road",
    "person": "human--person",
    "car": "object--vehicle--car",
    "bus": "object--vehicle--bus",
}


def write_cityscapes(out: Path, split: str, scenes: Iterable[Scene]) -> None:
    """leftImg8bit and gtFine with instanceIds and labelIds; crowds have the bare label id."""
    city = f"synthetic{split}"
    label_of_kind = np.array(
        [name2label["ego vehicle" if kind == "void" else kind].id for kind in KINDS], np.uint8
    )
    images, labels = out / "leftImg8bit" / split / city, out / "gtFine" / split / city
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    for i, scene in enumerate(scenes):
        label_map = label_of_kind[scene.class_map]
        instance_map = label_map.astype(np.uint16)
        counters: Counter[str] = Counter()
        for number, (kind, iscrowd) in enumerate(scene.objects, start=1):
            if not iscrowd:
                value = name2label[kind].id * 1000 + counters[kind]
                instance_map[scene.object_map == number] = value
                counters[kind] += 1
        stem = f"{city}_{i:06d}_000019"  # Cityscapes labels the 20th frame of each sequence
        _save(images / f"{stem}_leftImg8bit.png", scene.image)
        _save(labels / f"{stem}_gtFine_labelIds.png", label_map)
        _save(labels / f"{stem}_gtFine_instanceIds.png", instance_map)


def write_coco(out: Path, split: str, scenes: Iterable[Scene]) -> None:
    """<split>2017 with JPEGs, annotations/panoptic_<split>2017 with PNGs, and its JSON file."""
    categories = [
        {
            "id": COCO_CATEGORIES[kind][0],
            "name": COCO_CATEGORIES[kind][1],
            "isthing": int(kind in THINGS),
            "color": _color(i),
            "supercategory": kind,
        }
        for i, kind in enumerate(KINDS[1:])
    ]
    category_of_kind = {kind: category for kind, (category, _) in COCO_CATEGORIES.items()}
    images, labels = out / f"{split}2017", out / "annotations" / f"panoptic_{split}2017"
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    content: dict[str, list[dict]] = {"images": [], "annotations": [], "categories": categories}
    for i, scene in enumerate(scenes):
        _add_panoptic(content, images, labels, scene, category_of_kind, i, f"{i:012d}")
    labels.with_name(f"{labels.name}.json").write_text(json.dumps(content))


def write_mapillary(out: Path, split: str, scenes: Iterable[Scene]) -> None:
    """The v1.2 release: images, labels, instances and panoptic of a split, and config.json.

    The format knows no crowds: theirs is left unlabelled.
    """
    names = [label.rstrip("+") for label in MAPILLARY_LABELS]
    config = {
        "version": "1.2",
        "mapping": "public",
        "folder_structure": "{split}/{content}/{image_id:s}.{extension:s}",
        "labels": [
            {
                "name": name,
                "readable": name.rsplit("--", 1)[-1].replace("-", " ").title(),
                "color": _color(i),
                "instances": label.endswith("+"),
                "evaluate": name != "void--unlabeled",
            }
            for i, (label, name) in enumerate(zip(MAPILLARY_LABELS, names))
        ],
    }
    (out / "config.json").write_text(json.dumps(config, indent=1))
    categories = [
        {
            "id": i + 1,
            "name": label["readable"],
            "isthing": int(label["instances"]),
            "color": label["color"],
            "supercategory": label["name"],
        }
        for i, label in enumerate(config["labels"])
        if label["evaluate"]
    ]
    label_of_kind = np.array([names.index(MAPILLARY_KINDS[kind]) for kind in KINDS], np.uint8)
    category_of_kind = {kind: int(label) + 1 for kind, label in zip(KINDS, label_of_kind)}
    palette = [channel for label in config["labels"] for channel in label["color"]]

    folder = out / SPLIT_FOLDERS[split]
    for part in ("images", "labels", "instances", "panoptic"):
        (folder / part).mkdir(parents=True)
    content: dict[str, list[dict]] = {"images": [], "annotations": [], "categories": categories}
    for i, scene in enumerate(map(_without_crowds, scenes)):
        label_map = label_of_kind[scene.class_map]
        instance_map = label_map.astype(np.uint16) * 256
        counters: Counter[str] = Counter()
        for number, (kind, _) in enumerate(scene.objects, start=1):
            instance_map[scene.object_map == number] += counters[kind]
            counters[kind] += 1
        name = f"{i:012d}"  # the image's id, too
        _add_panoptic(
            content, folder / "images", folder / "panoptic", scene, category_of_kind, name, name
        )
        picture = Image.fromarray(label_map)
        picture.putpalette(palette)
        picture.save(folder / "labels" / f"{name}.png")
        _save(folder / "instances" / f"{name}.png", instance_map)
    (folder / "panoptic" / "panoptic_2018.json").write_text(json.dumps(content))


WRITERS = {"cityscapes": write_cityscapes, "coco": write_coco, "mapillary": write_mapillary}


def _add_panoptic(
    content: dict[str, list[dict]],
    images: Path,
    labels: Path,
    scene: Scene,
    category_of_kind: dict[str, int],
    image_id: int | str,
    name: str,
) -> None:
    """Save a JPEG and its panoptic PNG under a name, and describe them in the JSON content.

    PNG id = R + 256 G + 65536 B, 0 = void (cocodataset.org, format-data).
    """
    height, width = scene.class_map.shape
    stuff = [(kind, False, scene.class_map == KINDS.index(kind)) for kind in STUFF]
    things = [
        (kind, iscrowd, scene.object_map == number)
        for number, (kind, iscrowd) in enumerate(scene.objects, start=1)
    ]
    segments = [segment for segment in stuff + things if segment[2].any()]
    # As in COCO, ids are scattered over all 24 bits and differ between images.
    rng = np.random.default_rng(len(content["images"]))
    ids = rng.choice(2**24 - 1, len(segments), replace=False) + 1
    id_map = np.zeros((height, width), dtype="<u4")
    segments_info = []
    for segment_id, (kind, iscrowd, mask) in zip(ids.tolist(), segments):
        id_map[mask] = segment_id
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        x, y = int(columns[0]), int(rows[0])
        segments_info.append(
            {
                "id": segment_id,
                "category_id": category_of_kind[kind],
                "iscrowd": int(iscrowd),
                "area": int(mask.sum()),
                "bbox": [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1],
            }
        )
    _save(images / f"{name}.jpg", scene.image)
    # (H, W) of 4 little-endian bytes -> (H, W, 3)
    _save(labels / f"{name}.png", id_map.view(np.uint8).reshape(height, width, 4)[..., :3].copy())
    content["images"].append(
        {"id": image_id, "file_name": f"{name}.jpg", "height": height, "width": width}
    )
    content["annotations"].append(
        {"image_id": image_id, "file_name": f"{name}.png", "segments_info": segments_info}
    )


def _without_crowds(scene: Scene) -> Scene:
    """The scene with its crowds turned to void, the other objects numbered anew."""
    result = Scene(scene.image, scene.class_map.copy(), np.zeros_like(scene.object_map))
    for number, (kind, iscrowd) in enumerate(scene.objects, start=1):
        mask = scene.object_map == number
        if iscrowd:
            result.class_map[mask] = KINDS.index("void")
        else:
            result.objects.append((kind, False))
            result.object_map[mask] = len(result.objects)
    return result


def _color(index: int) -> list[int]:
    """A colour of its own for each of 66 classes: the data sets' colours don't matter here."""
    return [index * 67 % 256, index * 151 % 256, index * 31 % 256]


def _save(path: Path, array: np.ndarray) -> None:
    Image.fromarray(array).save(path, quality=95)  # quality: JPEG only


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m datasets.synthetic", description=__doc__, formatter_class=HelpFormatter
    )
    parser.add_argument(
        "--format",
        choices=sorted(WRITERS),
        required=True,
        help="data set whose format the files have",
    )
    parser.add_argument("--out", type=Path, required=True, help="a new or empty folder")
    parser.add_argument("--train", type=WHOLE, default=400, help="number of training scenes")
    parser.add_argument("--val", type=WHOLE, default=50, help="number of validation scenes")
    parser.add_argument("--seed", type=WHOLE, default=0, help="the same seed gives the same scenes")
    parser.add_argument(
        "--size",
        type=COUNT,
        nargs=2,
        default=(128, 256),
        metavar=("H", "W"),
        help="height and width of a scene in pixels",
    )
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    if any(options.out.iterdir()):
        parser.error(f"{options.out} isn't empty: old scenes would mix with new ones")
    for number, (split, count) in enumerate((("train", options.train), ("val", options.val))):
        scenes = (
            # A scene depends on its own number only: more of them leave the first as they were.
            make_scene(np.random.default_rng((options.seed, number, i)), tuple(options.size))
            for i in progress(range(count), desc=f"{options.format} {split}", unit="scene")
        )
        WRITERS[options.format](options.out, split, scenes)


if __name__ == "__main__":
    run_script(main, "delete the folder, whose scenes are not complete, and begin anew")
