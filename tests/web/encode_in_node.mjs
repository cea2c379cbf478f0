// Reads { rules, vocabulary, texts } a case, and prints the tokens and ids of every text.
import { readFileSync } from "node:fs";
import { TextEncoding } from "../../runtime/web/pocketrnn.js";

const answers = JSON.parse(readFileSync(0)).map(({ rules, vocabulary, texts }) => {
  const encoding = new TextEncoding(rules, vocabulary);
  return texts.map((text) => ({ tokens: encoding.tokens(text), ids: encoding.encode(text) }));
});
process.stdout.write(JSON.stringify(answers));
