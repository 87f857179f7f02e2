// Chooses between the languages of the page. The texts themselves are in texts_<code>.js.
//
// To add a language, translate a copy of texts_en.js, and name it in `languages`.
// {n} and the like are filled in; keys that end in _one and _other are chosen by Intl.PluralRules.

export const languages = { en: "English", de: "Deutsch", fr: "Français", th: "ไทย" };

let code = "en";
let block = {};
let plural;

/** Choose a language by its code and load its texts; gives the code that is then in use. */
export async function setLanguage(wanted) {
  block = (await import(`./texts_${wanted}.js`)).default;
  code = wanted;
  plural = new Intl.PluralRules(code);
  return code;
}

/** The text of a key such as "home.title"; `values` fill its {placeholders}, n picks the plural. */
export function t(key, values = {}) {
  const look = (path) => path.split(".").reduce((texts, name) => texts?.[name], block);
  const text = look(key) ?? look(`${key}_${plural.select(values.n ?? 0)}`) ?? look(`${key}_other`);
  return (text ?? key).replace(/\{(\w+)\}/g, (whole, name) =>
    typeof values[name] === "number" ? number(values[name], 1) : (values[name] ?? whole),
  );
}

const plain = (name) => name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");

/** Names of parts from the front of the car to its back. */
export const partOrder = () => Object.keys(block.parts);

/** A part's name in words. */
export const partName = (name) => block.parts[name] ?? plain(name);

/** Names of all car types. */
export const typeNames = () => Object.keys(block.types);

/** A car type's name in words. */
export const typeName = (name) => block.types[name] ?? plain(name);

/** A kind of damage in words. */
export const kindName = (name) => block.kinds[name] ?? plain(name);

/** Compare names of files as folders list them: 2.jpg before 10.jpg. */
export const byName = (a, b) => a.localeCompare(b, code, { numeric: true });

/** A number as the language writes it. */
export const number = (value, digits = 0) =>
  new Intl.NumberFormat(code, { maximumFractionDigits: digits }).format(value);

/** A moment (milliseconds) as date and time. */
export const when = (time) =>
  new Intl.DateTimeFormat(code, { dateStyle: "medium", timeStyle: "short" }).format(time);

/** A share of 1 as a percentage; a little is never nothing. */
export function percent(share, digits = 0) {
  const least = 10 ** -(digits + 2);
  const format = new Intl.NumberFormat(code, { style: "percent", maximumFractionDigits: digits });
  return share > 0 && share < least / 2 ? `<${format.format(least)}` : format.format(share);
}

const UNSURE = 0.6; // below this a person should look

/** How sure the service is, in words. */
export const sureness = (confidence) =>
  t(confidence < UNSURE ? "result.unsure" : "result.sure", { p: percent(confidence) });
