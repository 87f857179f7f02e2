// Names of parts on the picture: each at a place within its part, none over another.

const PAD = 3; // pixels between two names

let context;

/** The width of a text in a CSS font, in pixels. */
export function widthOf(text, font) {
  context ??= document.createElement("canvas").getContext("2d");
  context.font = font;
  return context.measureText(text).width;
}

function areaOf(ring) {
  const twice = ring.reduce((sum, [x, y], at) => {
    const [nextX, nextY] = ring[(at + 1) % ring.length];
    return sum + x * nextY - nextX * y;
  }, 0);
  return Math.abs(twice / 2);
}

/** Where a horizontal line is within a ring: [[from, to], ...]. */
function spans(ring, y) {
  const crossings = ring.flatMap(([x, top], at) => {
    const [nextX, nextY] = ring[(at + 1) % ring.length];
    return top <= y === nextY <= y ? [] : [x + ((y - top) / (nextY - top)) * (nextX - x)];
  });
  crossings.sort((a, b) => a - b);
  return crossings.flatMap((x, at) => (at % 2 ? [] : [[x, crossings[at + 1]]]));
}

/** A point [x, y] within the largest piece of a part, where a name has most room. */
export function anchor(polygons) {
  const rings = polygons.map(({ exterior }) => exterior);
  const ring = rings.reduce((most, other) => (areaOf(other) > areaOf(most) ? other : most));
  const heights = ring.map(([, y]) => y);
  const [top, bottom] = [Math.min(...heights), Math.max(...heights)];
  let best = { width: -1, point: ring[0] };
  for (const share of [0.5, 0.42, 0.58, 0.34, 0.66]) {
    const y = top + (bottom - top) * share;
    for (const [from, to] of spans(ring, y)) {
      const width = (to - from) * (1 - Math.abs(share - 0.5));
      if (width > best.width) best = { width, point: [(from + to) / 2, y] };
    }
  }
  return best.point;
}

/**
 * Move names apart.
 * @param names [{x, y, width, height}] with their wanted middles, the most important first
 * @param room {width, height} of the picture
 * @returns for each its middle {x, y}, or null if there is no room for it
 */
export function apart(names, room) {
  const placed = [];
  return names.map(({ x, y, width, height }) => {
    if (x < 0 || y < 0 || x > room.width || y > room.height) return null; // out of view
    for (const step of [0, -1, 1, -2, 2]) {
      const box = {
        x: Math.min(Math.max(x, width / 2 + PAD), room.width - width / 2 - PAD),
        y: Math.min(Math.max(y + step * (height + PAD), height), room.height - height / 2 - PAD),
        width: width + PAD,
        height: height + PAD,
      };
      const meets = (other) =>
        Math.abs(box.x - other.x) * 2 < box.width + other.width &&
        Math.abs(box.y - other.y) * 2 < box.height + other.height;
      if (placed.some(meets)) continue;
      placed.push(box);
      return { x: box.x, y: box.y };
    }
    return null;
  });
}
