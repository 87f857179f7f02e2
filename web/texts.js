// The texts of the page in English, and what chooses between languages.
//
// To add a language, copy the block `en` into a file texts_<code>.js as its default export,
// translate it, and name it in `languages` and in ui.py. {n} and the like are filled in; keys that
// end in _one and _other are chosen by Intl.PluralRules.

export const languages = { en: "English", de: "Deutsch", th: "ไทย" };

const en = {
  app: "Car parts",
  skip: "Skip to the content",
  languageLabel: "Language",
  noScript: "This page needs JavaScript.",
  home: {
    title: "See every part of the car",
    lead: "Add a photo. A moment later each part is outlined and named.",
    drop: "Drop photos here",
    dropNow: "Let go to add the photos",
    or: "or paste them, or",
    choose: "Choose photos",
    camera: "Take a photo",
    sample: "Try the sample",
    formats: "PNG, JPEG or WebP. Photos over {mb} MB are made smaller first.",
    privacy: "The service deletes each photo as soon as it has been looked at.",
    uploads: "Added just now",
    gallery: "Results",
    empty: "No results yet. They appear here, newest first.",
    more: "Show more",
    galleryFailed: "The list of results could not be loaded.",
  },
  upload: {
    pasted: "Pasted photo",
    sample: "Sample",
    unnamed: "Photo",
    preparing: "Preparing the photo …",
    waitingToSend: "Waiting to be sent …",
    sending: "Sending …",
    busy: "The service is busy. Trying again in {n} s …",
    lost: "No connection. Trying again …",
    queued: "In line …",
    queuedAt: "In line, number {n}",
    working: "Looking at the photo …",
    parts: "Finding the parts …",
    type: "Telling the type of car …",
    polygons: "Drawing the outlines …",
    done: "Done",
    failed: "That did not work.",
    retry: "Try again",
    remove: "Remove",
    removeLabel: "Remove {name} from this list",
    open: "Show the result",
    openLabel: "Show the result of {name}",
    smaller: "The photo was too large and was made smaller: {from} → {to}.",
    converted: "The photo was turned into a JPEG first.",
    steps: "Progress",
  },
  result: {
    back: "All photos",
    unknownType: "Car",
    noCar: "No car found",
    noCarHelp: "Try a photo that shows the whole car in good light.",
    noParts: "No part of the car could be made out.",
    sure: "{p} sure",
    unsure: "{p} sure – please check",
    orElse: "or {name} ({p})",
    found_one: "1 part found",
    found_other: "{n} parts found",
    foundTitle: "Found",
    missingTitle: "Not visible",
    allParts: "Show all parts",
    show: "Show {name}",
    pick: "Point at a part of the car, or choose one from the list.",
    ofPhoto: "{p} of the photo",
    pieces_one: "1 piece",
    pieces_other: "{n} pieces",
    mask: "Save this part as a mask",
    picture: "Picture of the car. Plus and minus zoom, the arrow keys move, 0 shows all of it.",
    zoomIn: "Zoom in",
    zoomOut: "Zoom out",
    fit: "Show the whole picture",
    zoomed: "Zoom {p}",
    look: "Look",
    filled: "Filled",
    outline: "Outline",
    compare: "Compare",
    compareLabel: "Compare with the bare photo: how far the parts reach",
    opacity: "Strength of colour",
    detail: "Outlines",
    detailFine: "exact",
    detailCoarse: "simple",
    points_one: "1 point",
    points_other: "{n} points",
    pointsOff: "up to {d} pixels off",
    pointsExact: "pixel by pixel",
    ground: "The photo itself is not kept. To see the parts on it, add it again:",
    addPhoto: "Add the photo",
    otherShape: "This photo has another shape, so it can't be the same one.",
    cantShow: "The browser can't show this photo.",
    take: "Download",
    pictures: "Pictures",
    data: "For other programs",
    photoPng: "Photo with the parts",
    overlayPng: "Parts only",
    maskPng: "Map of the parts",
    svg: "Drawing (SVG)",
    copy: "Copy",
    copyLink: "Link to this result",
    copyJson: "JSON",
    copyCurl: "curl command",
    copyHtml: "HTML for a web page",
    copied: "Copied",
    copyFailed: "The browser did not allow copying.",
    gone: "This result is not there any more",
    goneHelp: "The service forgets its results when it is started again. Please add the photo once more.",
    failed: "This photo could not be used",
    inWork: "One moment",
  },
  error: {
    unreachable: "The service can't be reached. Is it running?",
    unexpected: "The service gave an answer that makes no sense.",
    again: "Try again",
  },
  footer: { developers: "For developers" },
  parts: {
    front_bumper: "Front bumper",
    hood: "Hood",
    front_glass: "Windscreen",
    front_left_light: "Left headlight",
    front_right_light: "Right headlight",
    left_mirror: "Left mirror",
    right_mirror: "Right mirror",
    front_left_door: "Front left door",
    front_right_door: "Front right door",
    back_left_door: "Back left door",
    back_right_door: "Back right door",
    wheel: "Wheels",
    back_glass: "Rear window",
    back_left_light: "Left tail light",
    back_right_light: "Right tail light",
    trunk: "Trunk lid",
    tailgate: "Tailgate",
    back_bumper: "Back bumper",
  },
  types: {
    convertible: "Convertible",
    coupe: "Coupé",
    hatchback: "Hatchback",
    pickup: "Pickup",
    sedan: "Sedan",
    suv: "SUV",
    van: "Van",
    wagon: "Estate car",
  },
};

let code = "en";
let block = en;
let plural = new Intl.PluralRules("en");

/** Choose a language by its code and load its texts; gives the code that is then in use. */
export async function setLanguage(wanted) {
  const texts = wanted === "en" ? en : (await import(`./texts_${wanted}.js`)).default;
  [code, block] = [wanted, texts];
  plural = new Intl.PluralRules(code);
  return code;
}

/** The text of a key such as "home.title"; `values` fill its {placeholders}, n picks the plural. */
export function t(key, values = {}) {
  const look = (path) => path.split(".").reduce((texts, name) => texts?.[name], block);
  const text = look(key) ?? look(`${key}_${plural.select(values.n ?? 0)}`) ?? look(`${key}_other`);
  return (text ?? key).replace(/\{(\w+)\}/g, (whole, name) =>
    typeof values[name] === "number" ? number(values[name]) : (values[name] ?? whole),
  );
}

const plain = (name) => name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");

/** Names of parts from the front of the car to its back. */
export const partOrder = Object.keys(en.parts);

/** A part's name in words. */
export const partName = (name) => block.parts[name] ?? plain(name);

/** A car type's name in words. */
export const typeName = (name) => block.types[name] ?? plain(name);

/** A number as the language writes it. */
export const number = (value, digits = 0) =>
  new Intl.NumberFormat(code, { maximumFractionDigits: digits }).format(value);

/** A share of 1 as a percentage. */
export const percent = (share, digits = 0) =>
  new Intl.NumberFormat(code, { style: "percent", maximumFractionDigits: digits }).format(share);

const UNSURE = 0.6; // below this a person should look

/** How sure the service is, in words. */
export const sureness = (confidence) =>
  t(confidence < UNSURE ? "result.unsure" : "result.sure", { p: percent(confidence) });
