/** Classify each beginning of a text: its likeliest label after each word, as if it were being typed. Each beginning is
 * classified by itself, so this holds for every classifier, in one direction or in both, and for the Classifier of native.js
 * and of pocketrnn.js. */

import { MAX_TOKENS } from "./word_contributions.js";

// All beginnings together may have about as many tokens as the shortened texts of word_contributions.js: of a long text not every
// word is answered for.
const MAX_BEGINNINGS = 64;

/**
 * @param classifier a Classifier.
 * @param text the text.
 * @param options `among` and `prior`, as in `classify`.
 * @returns [{ end, label, probability }, ...] in the text's order: the likeliest label of the text up to `end`, which is where a
 *   word ends. At most 64 of them, the whole text always among them; not those that are too short for the classifier, and
 *   none where the text has no word.
 */
export async function classifyEachBeginning(classifier, text, options) {
  const places = classifier.words(text);
  const most = Math.max(1, Math.min(MAX_BEGINNINGS, Math.floor((2 * MAX_TOKENS) / classifier.encode(text).length)));
  const every = Math.ceil(places.length / most);
  const ends = places.filter((_, i) => (places.length - 1 - i) % every === 0).map(([, end]) => end);
  if (ends.length > 0) ends[ends.length - 1] = text.length;
  const taken = ends.filter((end) => classifier.takes(text.slice(0, end)));
  const rows = await classifier.predictProba(taken.map((end) => text.slice(0, end)), options);
  return rows.map((row, i) => {
    const probabilities = Array.from(row);
    const best = probabilities.indexOf(Math.max(...probabilities));
    return { end: taken[i], label: classifier.labels[best], probability: probabilities[best] };
  });
}
