/** The page: it classifies a text while it is typed, says where the answer changed, and colours each word by its contribution.
 * For a file that takes sequences of numbers, number_page.js is used. */

import { measureContributions } from "./word_contributions.js";
import { load as loadPacked } from "./native.js";
import { classifyEachBeginning } from "./answers_while_typing.js";

// Placed beside this page by whoever serves it; README.md says how. Nothing is fetched from anywhere else.
const PACKED = "classifier.prnn";
const BUNDLE = "bundle/";
const ORT = "./ort/ort.wasm.bundle.min.mjs";

// A contribution of this many units of log-odds, or the largest of the text if that is larger, is coloured in full.
const FULL_COLOUR = 1;
const SHOWN_LABELS = 5;
const SHOWN_EXAMPLES = 4;

const at = (id) => document.getElementById(id);

function showStatus(sentence) {
  at("status").className = "";
  at("status").textContent = sentence;
}

function showError(error) {
  // A text that is too short yet is not a failure.
  at("status").className = error.name === "LimitError" ? "" : "error";
  at("status").textContent = error.message;
}

/** Show the likeliest labels; `given` are those that reach their threshold, if the classifier has thresholds. */
function showLabels(top, given) {
  at("labels").replaceChildren(
    ...top.map(({ label, probability }) => {
      const row = document.createElement("li");
      if (given) row.className = given.includes(label) ? "given" : "below";
      const name = document.createElement("span");
      name.textContent = label;
      const bar = document.createElement("meter");
      bar.value = probability;
      const figure = document.createElement("output");
      figure.textContent = `${(100 * probability).toFixed(1)} %`;
      row.append(name, bar, figure);
      return row;
    }),
  );
}

/** Show the text, with the likeliest label after each word at which it changed. */
function showSoFar(text, answers) {
  const shown = [];
  let end = 0;
  let before;
  for (const answer of answers) {
    if (answer.label === before) continue;
    before = answer.label;
    shown.push(text.slice(end, answer.end));
    end = answer.end;
    const mark = document.createElement("span");
    mark.className = "answer";
    mark.textContent = `${answer.label} ${(100 * answer.probability).toFixed(0)} %`;
    mark.dataset.end = answer.end;
    shown.push(mark);
  }
  shown.push(text.slice(end));
  at("so-far").replaceChildren(...shown);
}

function showWords(text, fragments) {
  const full = fragments.reduce((most, { logOdds }) => Math.max(most, Math.abs(logOdds)), FULL_COLOUR);
  const shown = [];
  let end = 0;
  for (const fragment of fragments) {
    shown.push(text.slice(end, fragment.start));
    end = fragment.end;
    const word = document.createElement("span");
    const side = fragment.logOdds >= 0 ? "for" : "against";
    word.className = side;
    word.textContent = text.slice(fragment.start, fragment.end);
    word.title = `${fragment.logOdds >= 0 ? "+" : ""}${fragment.logOdds.toFixed(3)}`;
    word.dataset.contribution = fragment.logOdds;
    // Set from script, which style-src 'self' allows.
    word.style.backgroundColor = `rgb(var(--${side}) / ${(0.6 * Math.abs(fragment.logOdds)) / full})`;
    shown.push(word);
  }
  shown.push(text.slice(end));
  at("words").replaceChildren(...shown);
}

/** Show the text only, without an answer. */
function showNothing(text) {
  showLabels([]);
  showSoFar(text, []);
  showWords(text, []);
}

/** Load a bundle with its reader and the 14 MB of onnxruntime-web, which a packed file does not need. */
async function loadBundle(address) {
  const [ort, { Classifier }] = await Promise.all([import(ORT), import("./pocketrnn.js")]);
  // One thread needs no SharedArrayBuffer, and with it no special headers from the server.
  ort.env.wasm.numThreads = 1;
  return Classifier.load(address, { ort });
}

/** Load the file that the page's address names: a packed file, which ends in .prnn, or a bundle's folder. If the address names
 * none, load the packed file; if there is none, the bundle. */
async function load() {
  const named = new URLSearchParams(location.search).get("bundle");
  const address = new URL(named ?? PACKED, document.baseURI);
  if (!address.pathname.endsWith(".prnn")) return loadBundle(address);
  try {
    return await loadPacked(address);
  } catch (error) {
    const { url, status } = error.cause ?? {};
    if (named === null && url === address.href && status === 404) return loadBundle(new URL(BUNDLE, document.baseURI));
    throw error;
  }
}

async function start() {
  const whole = await load();
  await whole.verify();
  // Of several heads, the page shows one: `?head=mood` in the address, or else the first.
  const classifier = whole.heads?.length ? whole.head(new URLSearchParams(location.search).get("head") ?? whole.heads[0]) : whole;
  if (classifier.takesBeside)
    throw new Error(`${classifier.name} takes ${classifier.takesBeside}, but this page gives it one text alone. Use native.js.`);
  document.title = at("name").textContent = classifier.name;
  const what = classifier.givesValues ? "values" : "labels";
  const ready = `Ready: ${classifier.labels.length} ${what}; its golden examples are answered here as where it was made.`;
  showStatus(ready);
  if (classifier.channels) {
    const { startNumberPage } = await import("./number_page.js");
    startNumberPage(classifier, (said) => (said instanceof Error ? showError(said) : showStatus(said)));
    return;
  }
  at("text").disabled = false;
  // `?among=en,de,fr` in the address: the page answers with one of these.
  const among = new URLSearchParams(location.search).get("among")?.split(",");
  // `?prior=web`: it expects the labels as often as this prior of the file says.
  const prior = new URLSearchParams(location.search).get("prior") ?? undefined;
  const most = among ? among.filter((label) => label[0] !== "-").length || 1 : classifier.labels.length;

  let asked = 0;
  const answer = async () => {
    const question = ++asked;
    const text = at("text").value;
    // Nothing was written yet: a label of nothing would only mislead.
    if (!text.trim()) {
      showStatus(ready);
      showNothing(text);
      at("words").dataset.answered = text;
      return;
    }
    try {
      const { label, top } = await classifier.classify(text, Math.min(SHOWN_LABELS, most), { among, prior });
      // Whoever types on is answered for the newest text only.
      const given = classifier.thresholds && (await classifier.predictLabels([text], undefined, { among, prior }))[0];
      if (question !== asked) return;
      showStatus(given?.length === 0 ? "No label reaches its threshold." : ready);
      showLabels(top, given);
      // Let the browser draw, and take the next key, before the longer part.
      await new Promise((resolve) => setTimeout(resolve));
      if (question !== asked) return;
      const answers = await classifyEachBeginning(classifier, text, { among, prior });
      if (question !== asked) return;
      showSoFar(text, answers);
      const fragments = await measureContributions(classifier, text, label);
      if (question !== asked) return;
      showWords(text, fragments);
      at("words").dataset.answered = text;
    } catch (error) {
      if (question !== asked) return;
      showError(error);
      showNothing(text);
    }
  };
  at("text").addEventListener("input", answer);
  const external = classifier.manifest.text.tokenizer === "external";
  const texts = external ? [] : classifier.manifest.examples.map(({ text }) => text);
  const examples = texts.filter((text) => classifier.encode(text).length > 1);
  at("examples").replaceChildren(
    ...examples.slice(0, SHOWN_EXAMPLES).map((text) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      button.addEventListener("click", () => {
        at("text").value = text;
        answer();
      });
      return button;
    }),
  );
  at("text").focus();
  await answer();
}

start().catch(showError);
