/** Use a phone's motion sensor for the channels of a classifier: the source of each channel, its unit and the rate. */

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

/** The readings of the sensor that fit a channel's unit; all readings, as the browser gives them, if the file has no unit for
 * it. Empty if no motion sensor gives the unit. */
export const listSensorSources = (unit) => (unit === undefined || unit === "" ? [...listAccelerationSources(1), ...listRotationSources(1)] : (UNITS.get(unit) ?? []));

/** The source that a channel likely has, by the axis at the end of its name. */
export function guessSource(name, sources) {
  const turns = /gyr|rot|^g/i.test(name);
  const wanted = sources.filter(({ of }) => (of === "rotationRate") === turns);
  const axis = AXES.indexOf(name.at(-1).toLowerCase());
  const among = wanted.length ? wanted : sources;
  return sources.indexOf(among[Math.max(axis, 0)] ?? among[0]);
}

/** Turn events of the sensor into steps of a recording. With a rate, each step has the newest samples when it is due. */
export class Motion {
  #sources;
  #interval;
  #next;

  /** `rate` is in samples a second; if it is undefined, each event is a step. */
  constructor(sources, rate) {
    this.#sources = sources;
    this.#interval = rate === undefined ? undefined : 1000 / rate;
  }

  /** The samples of the steps that are due with an event, step after step: no step, one or several. A reading that the event
   * lacks is NaN. */
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
