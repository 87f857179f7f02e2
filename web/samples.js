// Code that uploads a photo, waits for it, and prints its result. The key is named, never filled in.

import { toClipboard } from "./clipboard.js";
import { byId } from "./dom.js";
import { service } from "./service.js";

const curl = (url, query) => `# If the service asks for a key: export CARSEG_KEY=...
# Waits up to 30 seconds; posting the same photo again then goes on waiting.
curl -sS -H "X-API-Key: $CARSEG_KEY" -F file=@photo.jpg \\
  '${url}/?wait=30&${query}'
`;

const python = (url, query) => `import os

import requests  # pip install requests

url = "${url}/?wait=30&${query}"
headers = {"X-API-Key": os.environ.get("CARSEG_KEY", "")}  # if the service asks for a key

with open("photo.jpg", "rb") as file:
    photo = file.read()
while True:
    answer = requests.post(url, files={"file": photo}, headers=headers, timeout=60)
    if answer.status_code != 202:  # 202: not ready yet; the same photo is not processed twice
        break
print(answer.text)
`;

const javascript = (url, query) => `// Node 18 or later: node sample.mjs
import { readFile } from "node:fs/promises";

const url = "${url}/?wait=30&${query}";
const headers = { "X-API-Key": process.env.CARSEG_KEY ?? "" }; // if the service asks for a key

const body = await readFile("photo.jpg");
let answer;
do {
  answer = await fetch(url, { method: "POST", body, headers });
} while (answer.status === 202); // not ready yet; the same photo is not processed twice
console.log(await answer.text());
`;

const LANGUAGES = { curl, python, javascript };

/** Show the code of the chosen language, with the options of a ResultPage. */
export function fillSamples({ options, damage }) {
  const [language] = Object.keys(LANGUAGES).filter((name) => byId(`code-${name}`).checked);
  const asked = { ...options, damage: damage ? true : null };
  const query = service.path("", asked).split("?")[1];
  byId("code").textContent = LANGUAGES[language](service.url, query);
}

/** Show the code, and listen to the choice of its language and to the button that copies it. */
export function listenSamples(page) {
  for (const name of Object.keys(LANGUAGES)) {
    byId(`code-${name}`).addEventListener("input", () => fillSamples(page));
  }
  byId("copy-code").addEventListener("click", () => toClipboard(byId("code").textContent));
  fillSamples(page);
}
