/** Measure how much each word of a text contributed: how far the label's log-odds fall without each fragment of the text.
 * Leave-one-out (occlusion): each fragment is cut out of the text once, and the rest is classified by the same rules, so this
 * holds for every tokenizer, n-grams included, and for the Classifier of native.js and of pocketrnn.js.
 * runtime/pocketrnn/explanation.py is the same in Python. Log-odds are compared because a probability of 0.999 hardly moves. */

// All the shortened texts together may have this many tokens; a long text is cut into fewer and longer fragments. With an
// LSTM(50 -> 64) 50,000 tokens take 0.2 to 0.35 s on one core, and the 48 fragments of a text of 48 tokens 14 to 36 ms.
export const MAX_TOKENS = 50_000;
const MAX_PIECES = 64;

/** The log-odds of label `k` in one row of logits. */
function computeLogOdds(logits, k, activation) {
  if (activation === "sigmoid") return logits[k];
  const others = Array.from(logits).filter((_, i) => i !== k);
  const largest = Math.max(...others);
  if (!Number.isFinite(largest)) return logits[k] - largest;
  return logits[k] - largest - Math.log(others.reduce((sum, logit) => sum + Math.exp(logit - largest), 0));
}

/** The probability of log-odds: their sigmoid, with both activations. */
const computeProbability = (logOdds) => 0.5 * (Math.tanh(0.5 * logOdds) + 1);

const subtract = (whole, without) => (whole === without ? 0 : whole - without);

/**
 * @param classifier a Classifier.
 * @param text the text.
 * @param label the label that was answered.
 * @returns [{ start, end, logOdds, probability }, ...] in the text's order: how far the label's log-odds and probability
 *   fall without the text from `start` to `end`. At most 64 fragments of one or several words; none where the text is too
 *   long even for two, and not those without which the text is too short for the classifier.
 */
export async function measureContributions(classifier, text, label) {
  const { activation } = classifier;
  const places = classifier.words(text);
  const most = Math.min(MAX_PIECES, Math.floor(MAX_TOKENS / classifier.encode(text).length));
  if (places.length === 0 || (places.length > 1 && most < 2)) return [];
  const together = Math.ceil(places.length / Math.max(1, most));
  const fragments = [];
  for (let i = 0; i < places.length; i += together)
    fragments.push([places[i][0], places[Math.min(i + together, places.length) - 1][1]]);
  const cut = fragments
    .map(([start, end]) => ({ start, end, rest: text.slice(0, start) + text.slice(end) }))
    .filter(({ rest }) => classifier.takes(rest));
  const texts = [text, ...cut.map(({ rest }) => rest)];
  const k = classifier.labels.indexOf(label);
  const [whole, ...without] = (await classifier.logits(texts)).map((row) => computeLogOdds(row, k, activation));
  return cut.map(({ start, end }, i) => ({
    start,
    end,
    logOdds: subtract(whole, without[i]),
    probability: subtract(computeProbability(whole), computeProbability(without[i])),
  }));
}
