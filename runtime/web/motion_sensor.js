/** A phone's motion sensor as the channels of a classifier: what each channel is read from, in which unit, at which rate. */

const GRAVITY = 9.80665; // m/s^2
const AXES = ["x", "y", "z"];
const TURNS = ["alpha", "beta", "gamma"];

// The browser's units: acceleration in m/s^2, rotation in degrees a second.
const listAccelerationSources = (by) => [
  ...AXES.map((axis) => ({ name: `acceleration with gravity, ${axis}`, of: "accelerationIncludingGravity", axis, by })),
  ...AXES.map((axis) => ({ name: `acceleration without gravity, ${axis}`, of: "acceleration", axis, by })),
];
const listRotationSources = (by) => TURNS.map((axis) => ({ name: `rotation, ${axis}`, of: "rotationRate", axis, by }));
const UNITS = new Map([
  ["g", listAccelerationSources(1 / GRAVITY)],
  ["mg", listAccelerationSources(1000 / GRAVITY)],
  ["m/s^2", listAccelerationSources(1)],
  ["m/s2", listAccelerationSources(1)],
  ["m/s²", listAccelerationSources(1)],
  ["deg/s", listRotationSources(1)],
  ["dps", listRotationSources(1)],
  ["°/s", listRotationSources(1)],
  ["rad/s", listRotationSources(Math.PI / 180)],
]);

/** The readings that a channel may be read from, by its unit; all there is, as the browser gives it, where the file does not
 * say of one. Empty where no motion sensor gives such a unit. */
export const listSensorSources = (unit) => (unit === undefined || unit === "" ? [...listAccelerationSources(1), ...listRotationSources(1)] : (UNITS.get(unit) ?? []));

/** Which of its sources a channel is likely read from, by the axis at the end of its name. */
export function guessSource(name, sources) {
  const turns = /gyr|rot|^g/i.test(name);
  const wanted = sources.filter(({ of }) => (of === "rotationRate") === turns);
  const axis = AXES.indexOf(name.at(-1).toLowerCase());
  const among = wanted.length ? wanted : sources;
  return sources.indexOf(among[Math.max(axis, 0)] ?? among[0]);
}

/** Steps of a recording out of events, at a rate where one is given: the newest samples, each time a step is due. */
export class Motion {
  #sources;
  #interval;
  #next;

  /** `rate` is in samples a second; undefined makes a step of each event. */
  constructor(sources, rate) {
    this.#sources = sources;
    this.#interval = rate === undefined ? undefined : 1000 / rate;
  }

  /** The samples of the steps that are due with an event, step after step: none, one or several. NaN is what the event lacks. */
  steps(event) {
    const row = this.#sources.map(({ of, axis, by }) => (event[of]?.[axis] ?? NaN) * by);
    if (this.#interval === undefined) return Float64Array.from(row);
    this.#next ??= event.timeStamp;
    // A page that was hidden has missed its steps: the recording goes on from here.
    if (event.timeStamp - this.#next > 1000) this.#next = event.timeStamp;
    const due = [];
    for (; this.#next <= event.timeStamp; this.#next += this.#interval) due.push(...row);
    return Float64Array.from(due);
  }
}
