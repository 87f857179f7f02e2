"""`labelstudio`: tasks with predictions, for import into Label Studio.

Each visible piece is one region, in percent of the photo. Holes are joined by a bridge of zero
width. `LABELING_CONFIG` is the labelling interface that the project needs. Damage has labels of its
own, so a project with damage needs `DAMAGE_LABELING_CONFIG`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from exports.annotation import ImageAnnotation
from exports.coordinates import keyhole, rounded, scaled
from exports.json_answer import to_json_bytes
from exports.palette import DAMAGE_COLOURS, PART_COLOURS, Colour, as_hex
from poligons_from_seg import Polygon


def _labels(name: str, colours: Mapping[str, Colour]) -> str:
    """Return the element with the labels of parts or of damage."""
    labels = "".join(
        f'    <Label value="{label}" background="{as_hex(colour)}"/>\n'
        for label, colour in colours.items()
    )
    return f'  <PolygonLabels name="{name}" toName="image">\n{labels}  </PolygonLabels>\n'


_START = '<View>\n  <Image name="image" value="$image"/>\n' + _labels("label", PART_COLOURS)
LABELING_CONFIG = f"{_START}</View>\n"
DAMAGE_LABELING_CONFIG = f"{_START}{_labels('damage', DAMAGE_COLOURS)}</View>\n"


def write(annotation: ImageAnnotation) -> bytes:
    """Return a list of one task."""
    regions = [
        _region(f"{part.name}-{number}", "label", part.name, part.confidence, polygon, annotation)
        for part in annotation.parts
        for number, polygon in enumerate(part.polygons, start=1)
    ]
    regions += [
        _region(
            f"damage-{damage.number}-{number}",
            "damage",
            damage.kind,
            damage.confidence,
            polygon,
            annotation,
        )
        for damage in annotation.damages or ()
        for number, polygon in enumerate(damage.polygons, start=1)
    ]
    confidences = [part.confidence for part in annotation.parts]
    prediction = {
        "model_version": f"car-segmentation {annotation.model_version}",
        "score": round(sum(confidences) / len(confidences), 4) if confidences else 0,
        "result": regions,
    }
    return to_json_bytes([{"data": {"image": annotation.file_name}, "predictions": [prediction]}])


def merge(documents: Sequence[bytes]) -> bytes:
    """Merge the tasks of all documents into one list."""
    return to_json_bytes([task for document in documents for task in json.loads(document)])


def _region(
    identifier: str,
    control: str,
    label: str,
    confidence: float,
    polygon: Polygon,
    annotation: ImageAnnotation,
) -> dict[str, Any]:
    percent = scaled(keyhole(polygon), 100 / annotation.width, 100 / annotation.height)
    return {
        "id": identifier,
        "type": "polygonlabels",
        "from_name": control,
        "to_name": "image",
        "original_width": annotation.width,
        "original_height": annotation.height,
        "image_rotation": 0,
        "score": confidence,
        "value": {
            "points": rounded(percent, 4),
            "closed": True,
            "polygonlabels": [label],
        },
    }
