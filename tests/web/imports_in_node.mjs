// What a WebAssembly module asks of whoever runs it.
import { readFileSync } from "node:fs";

const module = new WebAssembly.Module(readFileSync(JSON.parse(readFileSync(0))));
process.stdout.write(JSON.stringify(WebAssembly.Module.imports(module)));
