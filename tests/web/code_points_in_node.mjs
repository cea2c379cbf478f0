// For every code point: its lower case where that is another, and whether it makes a sigma before or after it final.
import { lowerCase, words } from "../../runtime/web/pocketrnn.js";

const lower = {};
const contexts = [[], [], [], []];
const space = [];
for (let i = 0; i <= 0x10ffff; i++) {
  const c = String.fromCodePoint(i);
  if (lowerCase(c) !== c) lower[i] = lowerCase(c);
  if (words(`a${c}b`).length === 2) space.push(i);
  [`${c}Σ`, `a${c}Σ`, `aΣ${c}`, `aΣ${c}b`].forEach((text, k) => {
    if (lowerCase(text).includes("ς")) contexts[k].push(i);
  });
}
process.stdout.write(JSON.stringify({ lower, contexts, space }));
