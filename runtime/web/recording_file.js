/** Read a recording from a file: CSV or TSV with a column for each channel, whose name is in the first line. */

import { InputError } from "./engine.js";

const MOST_INT32 = 2 ** 31 - 1;
const CORRECT = "Correct the file.";
// A field in quotes, with "" for a quote, or one without.
const FIELD = (separator) => new RegExp(`("(?:[^"]|"")*"|[^${separator}"]*)(${separator}|$)`, "y");

/** Split a line into its fields. */
function splitFields(line, separator, number) {
  const pattern = FIELD(separator);
  const fields = [];
  for (;;) {
    const found = pattern.exec(line);
    if (!found) throw new InputError(`Line ${number} of the recording has a quote in the middle of a field.`, CORRECT);
    fields.push(found[1].startsWith('"') ? found[1].slice(1, -1).replaceAll('""', '"') : found[1]);
    if (found[2] === "") return fields;
  }
}

/** A field as a number: NaN if it is empty, undefined if it is not a number. */
function parseField(field) {
  const text = field.trim();
  if (text === "" || text.toLowerCase() === "nan") return NaN;
  if (/^[+-]?inf(inity)?$/i.test(text)) return text.startsWith("-") ? -Infinity : Infinity;
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : undefined;
}

/**
 * The samples of a recording, step after step: an Int32Array if all of them are whole numbers, else a Float64Array, in which an
 * empty field is NaN.
 *
 * With `scale`, the factor for whole numbers of each channel, neither an empty field nor a channel whose factor is 1 makes the
 * sensor's whole numbers those of the channels' units: in the Float64Array they are multiplied.
 *
 * @throws InputError it is not such a file, or has no column for a channel.
 */
export function parseRecording(text, channels, scale) {
  const lines = text.replace(/^\ufeff/, "").split(/\r\n|\n|\r/);
  const separator = lines[0].includes("\t") ? "\t" : ",";
  const names = splitFields(lines[0], separator, 1);
  const places = channels.map((name) => names.indexOf(name));
  const lacking = places.indexOf(-1);
  if (lacking >= 0)
    throw new InputError(
      `The recording has no column ${JSON.stringify(channels[lacking])}; it has ${names.slice(0, 6).map((name) => JSON.stringify(name)).join(", ")}.`,
      `Give a column for each channel, by its name: ${channels.slice(0, 6).join(", ")}.`,
    );
  const numbers = [];
  let areWhole = true;
  const decimal = channels.map(() => false);
  for (const [index, line] of lines.entries()) {
    if (index === 0 || line === "") continue;
    const fields = splitFields(line, separator, index + 1);
    if (fields.length !== names.length)
      throw new InputError(`Line ${index + 1} of the recording has ${fields.length} fields, but the first line has ${names.length}.`, CORRECT);
    for (const [i, place] of places.entries()) {
      const number = parseField(fields[place]);
      if (number === undefined)
        throw new InputError(`Line ${index + 1} of the recording, column ${JSON.stringify(channels[i])}: ${JSON.stringify(fields[place].slice(0, 30))} is not a number.`, CORRECT);
      const isWhole = /^\s*[+-]?\d+\s*$/.test(fields[place]);
      areWhole &&= isWhole;
      if (!isWhole && !Number.isNaN(number)) decimal[i] = true;
      numbers.push(number);
    }
  }
  if (!numbers.length) throw new InputError("The recording has no rows.", "Give a file with a header and a row for each time step.");
  if (!areWhole) {
    const isScaled = scale !== undefined && decimal.every((isDecimal, i) => !isDecimal || scale[i] === 1);
    return Float64Array.from(numbers, (number, at) => (isScaled ? number * scale[at % channels.length] : number));
  }
  const large = numbers.find((number) => Math.abs(number) > MOST_INT32);
  if (large !== undefined) throw new InputError(`The recording holds ${large}, which has more than 32 bits.`, CORRECT);
  return Int32Array.from(numbers);
}
