// A ZIP archive without compression, which pictures would not need.
// Format: PKWARE's APPNOTE.TXT, 4.3

const MOST = 0xffff; // files, and 4 GB: more needs another format, ZIP64
const UTF8 = 0x800;

const TABLE = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

function crc32(bytes) {
  let sum = -1;
  for (const byte of bytes) sum = (sum >>> 8) ^ TABLE[(sum ^ byte) & 255];
  return ~sum >>> 0;
}

/** Bytes of numbers, little-endian: [[value, bytes], ...]. */
function packed(fields) {
  const bytes = fields.flatMap(([value, size]) =>
    Array.from({ length: size }, (_, at) => (value / 256 ** at) & 255),
  );
  return Uint8Array.from(bytes);
}

/** Date and time of MS-DOS, in local time. */
function moment(now = new Date()) {
  const time = (now.getHours() << 11) | (now.getMinutes() << 5) | (now.getSeconds() >> 1);
  const date = ((now.getFullYear() - 1980) << 9) | ((now.getMonth() + 1) << 5) | now.getDate();
  return [[time, 2], [date, 2]];
}

/** An archive as a Blob, of files {name, data}: data is a Blob or a string. */
export async function zip(files) {
  if (files.length > MOST) throw new RangeError("Too many files for one ZIP.");
  const pieces = [];
  const directory = [];
  let offset = 0;
  for (const { name, data } of files) {
    const blob = new Blob([data]);
    const title = new TextEncoder().encode(name);
    const sum = crc32(new Uint8Array(await blob.arrayBuffer()));
    const common = [[20, 2], [UTF8, 2], [0, 2], ...moment(), [sum, 4], [blob.size, 4], [blob.size, 4], [title.length, 2], [0, 2]];
    const head = packed([[0x04034b50, 4], ...common]);
    pieces.push(head, title, blob);
    const rest = [[0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]];
    directory.push(packed([[0x02014b50, 4], [20, 2], ...common, ...rest]), title);
    offset += head.length + title.length + blob.size;
    if (offset > 0xffffffff) throw new RangeError("Too much for one ZIP.");
  }
  const size = directory.reduce((sum, { length }) => sum + length, 0);
  const count = [[files.length, 2], [files.length, 2]];
  const end = packed([[0x06054b50, 4], [0, 2], [0, 2], ...count, [size, 4], [offset, 4], [0, 2]]);
  return new Blob([...pieces, ...directory, end], { type: "application/zip" });
}
