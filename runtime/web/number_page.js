/** The page of a classifier of sequences of numbers: it classifies the windows of a recording, and of this device's motion
 * sensor. */

import { guessSource, Motion, listSensorSources } from "./motion_sensor.js";
import { InputError } from "./engine.js";
import { parseRecording } from "./recording_file.js";

const SHOWN_LABELS = 5;
const SHOWN_WINDOWS = 200;
// Windows are answered in blocks of this many steps, so that the page keeps responding.
const STEPS_AT_ONCE = 2000;

const PAGE = `
  <div id="of-numbers">
    <p id="channels"></p>
    <label for="recording">A recording, as CSV with a column for each channel. It is read here, in your browser, and goes nowhere.</label>
    <input id="recording" type="file" accept=".csv,.tsv,.txt,text/csv" />
    <p>
      <label>Steps in a window <input id="window" type="number" min="1" step="1" /></label>
      <label>Steps from one to the next <input id="hop" type="number" min="1" step="1" /></label>
    </p>
    <div id="sensor" hidden>
      <p id="sources"></p>
      <button id="listen" type="button">Read this device’s motion sensor</button>
      <output id="steps"></output>
    </div>
    <section aria-live="polite">
      <h2>Now</h2>
      <ol id="now" class="labels"></ol>
      <h2>Windows</h2>
      <ol id="windows"></ol>
      <p class="legend">Each window with its steps and its answer, the newest first.</p>
    </section>
  </div>
`;

const at = (id) => document.getElementById(id);

function listItem(...content) {
  const row = document.createElement("li");
  row.append(...content);
  return row;
}

function cell(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

const formatPercent = (probability) => `${(100 * probability).toFixed(1)} %`;

/** Start the page. `say` shows a sentence or an error. */
export function startNumberPage(classifier, say) {
  const { channels, units, window, hop, steps, rate, integer_scale: scale } = classifier.manifest.numbers;
  at("of-texts").hidden = true;
  at("of-texts").insertAdjacentHTML("afterend", PAGE);
  const top = Math.min(SHOWN_LABELS, classifier.labels.length);
  const named = channels.map((name, i) => (units?.[i] ? `${name} (${units[i]})` : name));
  at("channels").textContent = `Channels: ${named.join(", ")}${rate === undefined ? "" : `, ${rate} samples a second`}.`;
  at("window").value = window ?? steps ?? "";
  at("hop").value = hop ?? "";

  const chosen = (id) => (at(id).value === "" ? undefined : Number(at(id).value));
  const stream = () => classifier.stream({ window: chosen("window"), hop: chosen("hop"), top });

  function show({ start, stop, answer }) {
    if (classifier.farSaid) say(classifier.farSaid);
    const pairs = classifier.givesValues
      ? classifier.labels.map((label, i) => [label, answer[i].toPrecision(6)])
      : answer.top.map(({ label, probability }) => [label, formatPercent(probability), probability]);
    at("now").replaceChildren(
      ...pairs.map(([label, figure, probability]) => {
        const bar = document.createElement(probability === undefined ? "span" : "meter");
        if (probability !== undefined) bar.value = probability;
        return listItem(cell("span", label), bar, cell("output", figure));
      }),
    );
    const said = classifier.givesValues ? pairs.map((pair) => pair.slice(0, 2).join(" ")).join(", ") : pairs[0].slice(0, 2).join(" ");
    at("windows").prepend(listItem(`${start} to ${stop - 1}: ${said}`));
    while (at("windows").childElementCount > SHOWN_WINDOWS) at("windows").lastChild.remove();
  }

  function clear() {
    at("now").replaceChildren();
    at("windows").replaceChildren();
    at("steps").textContent = "";
  }

  // The number of the last request: an older recording stops where a newer one begins.
  let asked = 0;

  async function answerRecording(text) {
    const question = ++asked;
    clear();
    const samples = parseRecording(text, channels, scale);
    const count = samples.length / channels.length;
    let windows = 0;
    if (chosen("window") === undefined && chosen("hop") === undefined) {
      const answer = classifier.givesValues ? (await classifier.values([samples]))[0] : await classifier.classify(samples, top);
      show({ start: 0, stop: count, answer });
      windows = 1;
    } else {
      const arriving = stream();
      if (count < arriving.window)
        throw new InputError(`The recording has ${count} steps, fewer than a window of ${arriving.window}.`, "Open a longer one, or write another window.");
      for (let start = 0; start < count && question === asked; start += STEPS_AT_ONCE) {
        const found = await arriving.push(samples.subarray(start * channels.length, (start + STEPS_AT_ONCE) * channels.length));
        found.forEach(show);
        windows += found.length;
        await new Promise((resolve) => setTimeout(resolve));
      }
    }
    if (question === asked) say(`${classifier.farSaid ? `${classifier.farSaid} ` : ""}Answered: ${count} steps, ${windows} window${windows === 1 ? "" : "s"}.`);
    at("windows").dataset.answered = windows;
  }

  at("recording").addEventListener("change", async () => {
    const [file] = at("recording").files;
    if (file) await file.text().then(answerRecording).catch(say);
    at("recording").value = "";
  });
  if (globalThis.DeviceMotionEvent !== undefined) offerSensor({ channels, units, rate, stream, show, clear, say, next: () => ++asked, isCurrent: (question) => question === asked });
}

/** Let the user record from the motion sensor, if it has a reading for each channel. */
function offerSensor({ channels, units, rate, stream, show, clear, say, next, isCurrent }) {
  const choices = channels.map((name, i) => ({ name, sources: listSensorSources(units?.[i]) }));
  if (choices.some(({ sources }) => !sources.length)) return;
  const selects = choices.map(({ name, sources }) => {
    const select = document.createElement("select");
    select.append(...sources.map((source) => cell("option", source.name)));
    select.selectedIndex = guessSource(name, sources);
    return select;
  });
  at("sources").replaceChildren(
    ...selects.flatMap((select, i) => {
      const label = cell("label", `${channels[i]}: `);
      label.append(select);
      return [label, document.createElement("br")];
    }),
    rate === undefined ? "The file does not say how many samples a second it was made for: each event of the sensor is a step." : "",
  );
  at("sensor").hidden = false;
  let stop;
  at("listen").addEventListener("click", async () => {
    if (stop) return stop();
    try {
      // Safari asks the user.
      if ((await DeviceMotionEvent.requestPermission?.()) === "denied") throw new InputError("The motion sensor may not be read.", "Allow it, and press again.");
      const arriving = stream();
      const motion = new Motion(selects.map((select, i) => choices[i].sources[select.selectedIndex]), rate);
      const question = next();
      let count = 0;
      let waiting = Promise.resolve();
      const read = (event) => {
        const samples = motion.steps(event);
        if (!samples.length) return;
        // In their order, one after the other.
        waiting = waiting
          .then(async () => {
            if (!isCurrent(question)) return stop?.();
            (await arriving.push(samples)).forEach(show);
            count += samples.length / channels.length;
            at("steps").textContent = `${count} steps`;
          })
          .catch((error) => {
            stop?.();
            say(error);
          });
      };
      clear();
      addEventListener("devicemotion", read);
      at("listen").textContent = "Stop";
      say("Reading the motion sensor.");
      stop = () => {
        removeEventListener("devicemotion", read);
        at("listen").textContent = "Read this device’s motion sensor";
        stop = undefined;
      };
    } catch (error) {
      say(error);
    }
  });
}
