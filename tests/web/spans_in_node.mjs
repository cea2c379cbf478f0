// The spans of tags, given as { tags, text }.
import { readFileSync } from "node:fs";
import { spansOf } from "../../runtime/web/tags.js";

const { tags, text } = JSON.parse(readFileSync(0));
process.stdout.write(JSON.stringify(spansOf(tags, text)));
