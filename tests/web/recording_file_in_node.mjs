// Reads [text, channels, scale] as JSON; prints the samples that a page makes of the file, and the type of their array.
import { readFileSync } from "node:fs";
import { parseRecording } from "../../runtime/web/recording_file.js";

const [text, channels, scale] = JSON.parse(readFileSync(0, "utf8"));
const samples = parseRecording(text, channels, scale ?? undefined);
console.log(JSON.stringify([samples.constructor.name, Array.from(samples, (number) => (Number.isNaN(number) ? "gap" : number))]));
