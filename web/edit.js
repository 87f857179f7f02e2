// Files in which other programs correct the parts of a photo.

import { bundle } from "./batch.js";
import { toClipboard } from "./clipboard.js";
import { save } from "./dom.js";
import { nameOf, stemOf } from "./names.js";

/** Save the photo of a ResultPage with its parts: kind is "cvat" or "labelstudio". */
export async function saveToEdit({ hash, config, options }, kind) {
  const { file, blob } = await bundle(kind, [hash], { config, options });
  save(blob, file.replace("car-parts", stemOf(nameOf(hash))));
}

/** Copy the labeling interface that a project of Label Studio needs. */
export function copyLabels({ config }) {
  const label = (name) => `    <Label value="${name}" background="${config.colours[name]}"/>\n`;
  return toClipboard(
    [
      '<View>\n  <Image name="image" value="$image"/>\n',
      '  <PolygonLabels name="label" toName="image">\n',
      ...config.parts.map(label),
      "  </PolygonLabels>\n</View>\n",
    ].join(""),
  );
}
