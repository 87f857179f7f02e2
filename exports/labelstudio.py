"""`labelstudio`: tasks with predictions, for import into Label Studio.

Each visible piece is one region, in percent of the photo. Holes are joined by a bridge of zero
width. `LABELING_CONFIG` is the labelling interface that the project needs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from exports.annotation import ImageAnnotation
from exports.coordinates import keyhole, rounded, scaled
from exports.json_answer import to_json_bytes
from exports.palette import PART_COLOURS, as_hex
from img_to_segments import PART_NAMES
from photo_result import Part
from poligons_from_seg import Polygon

LABELING_CONFIG = (
    '<View>\n  <Image name="image" value="$image"/>\n'
    '  <PolygonLabels name="label" toName="image">\n'
    + "".join(
        f'    <Label value="{name}" background="{as_hex(PART_COLOURS[name])}"/>\n'
        for name in PART_NAMES
    )
    + "  </PolygonLabels>\n</View>\n"
)


def write(annotation: ImageAnnotation) -> bytes:
    """Return a list of one task."""
    regions = [
        _region(f"{part.name}-{number}", part, polygon, annotation)
        for part in annotation.parts
        for number, polygon in enumerate(part.polygons, start=1)
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
    identifier: str, part: Part, polygon: Polygon, annotation: ImageAnnotation
) -> dict[str, Any]:
    percent = scaled(keyhole(polygon), 100 / annotation.width, 100 / annotation.height)
    return {
        "id": identifier,
        "type": "polygonlabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": annotation.width,
        "original_height": annotation.height,
        "image_rotation": 0,
        "score": part.confidence,
        "value": {
            "points": rounded(percent, 4),
            "closed": True,
            "polygonlabels": [part.name],
        },
    }
