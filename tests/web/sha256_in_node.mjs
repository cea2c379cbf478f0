// The digests of the given base64 strings, by the function that stands in for crypto.subtle.
import { readFileSync } from "node:fs";
import { sha256InJavaScript } from "../../runtime/web/pocketrnn.js";

const contents = JSON.parse(readFileSync(0)).map((content) => new Uint8Array(Buffer.from(content, "base64")));
process.stdout.write(JSON.stringify(contents.map((content) => Buffer.from(sha256InJavaScript(content)).toString("hex"))));
