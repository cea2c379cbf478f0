/** The page: classifies as one types, and colours the words by what they contributed. */

// Placed beside this page by whoever serves it; README.md says how. Nothing is fetched from anywhere else.
import * as ort from "./ort/ort.wasm.bundle.min.mjs";
import { contributionsOf } from "./contributions.js";
import { Classifier, LimitError } from "./pocketrnn.js";

// A contribution of this many units of log-odds, or the largest of the text if that is larger, is coloured in full.
const FULL_COLOUR = 1;
const SHOWN_LABELS = 5;
const SHOWN_EXAMPLES = 4;

const at = (id) => document.getElementById(id);

// One thread needs no SharedArrayBuffer, and with it no special headers from the server.
ort.env.wasm.numThreads = 1;

function showError(error) {
  // A text that is too short yet is no failure.
  at("status").className = error instanceof LimitError ? "" : "error";
  at("status").textContent = error.message;
}

function showLabels(top) {
  at("labels").replaceChildren(
    ...top.map(({ label, probability }) => {
      const row = document.createElement("li");
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

function showWords(text, fragments) {
  const full = fragments.reduce((most, { contribution }) => Math.max(most, Math.abs(contribution)), FULL_COLOUR);
  const shown = [];
  let end = 0;
  for (const fragment of fragments) {
    shown.push(text.slice(end, fragment.start));
    end = fragment.end;
    const word = document.createElement("span");
    const side = fragment.contribution >= 0 ? "for" : "against";
    word.className = side;
    word.textContent = text.slice(fragment.start, fragment.end);
    word.title = `${fragment.contribution >= 0 ? "+" : ""}${fragment.contribution.toFixed(3)}`;
    word.dataset.contribution = fragment.contribution;
    // Set from script, which style-src 'self' allows.
    word.style.backgroundColor = `rgb(var(--${side}) / ${(0.6 * Math.abs(fragment.contribution)) / full})`;
    shown.push(word);
  }
  shown.push(text.slice(end));
  at("words").replaceChildren(...shown);
}

async function start() {
  const bundle = new URL(new URLSearchParams(location.search).get("bundle") ?? "bundle/", document.baseURI);
  const classifier = await Classifier.load(bundle, { ort });
  await classifier.verify();
  document.title = at("name").textContent = classifier.name;
  const ready = `Ready: ${classifier.labels.length} labels; its golden examples are answered here as where it was made.`;
  at("status").textContent = ready;
  at("text").disabled = false;

  let asked = 0;
  const answer = async () => {
    const question = ++asked;
    const text = at("text").value;
    try {
      const { label, top } = await classifier.classify(text, Math.min(SHOWN_LABELS, classifier.labels.length));
      // Whoever types on is answered for the newest text only.
      if (question !== asked) return;
      at("status").className = "";
      at("status").textContent = ready;
      showLabels(top);
      // Let the browser draw, and take the next key, before the longer part.
      await new Promise((resolve) => setTimeout(resolve));
      if (question !== asked) return;
      const fragments = await contributionsOf(classifier, text, label);
      if (question !== asked) return;
      showWords(text, fragments);
      at("words").dataset.answered = text;
    } catch (error) {
      if (question !== asked) return;
      showError(error);
      showLabels([]);
      at("words").replaceChildren(text);
    }
  };
  at("text").addEventListener("input", answer);
  const examples = classifier.manifest.examples.map(({ text }) => text).filter((text) => classifier.tokens(text).length > 1);
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
