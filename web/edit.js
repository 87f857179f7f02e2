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

const labels = (control, names, colours) => [
  `  <PolygonLabels name="${control}" toName="image">\n`,
  ...names.map((name) => `    <Label value="${name}" background="${colours[name]}"/>\n`),
  "  </PolygonLabels>\n",
];

/** Copy the labeling interface that a project of Label Studio needs. */
export function copyLabels({ config, damage }) {
  const { parts, colours, damage_kinds: kinds, damage_colours: colour } = config;
  const lines = [
    '<View>\n  <Image name="image" value="$image"/>\n',
    ...labels("label", parts, colours),
    ...(damage ? labels("damage", kinds, colour) : []),
    "</View>\n",
  ];
  return toClipboard(lines.join(""));
}
