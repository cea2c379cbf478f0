// Opens the page in headless Chromium with a packed file beside it, asks the native engine for the answers to many texts and
// for what it says of hostile files, types into the page, and prints what came of it, with every address that was asked for.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { modules, chromium, profile, url, bundleUrl, questions, hostile, typed, languagesUrl, sentence } = JSON.parse(readFileSync(0));
const playwright = createRequire(join(modules, "x.js"))("playwright-core");
const context = await playwright.chromium.launchPersistentContext(profile, {
  executablePath: chromium,
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const requests = [];
const errors = [];
const page = await context.newPage();
page.on("request", (request) => requests.push(request.url()));
page.on("pageerror", (error) => errors.push(String(error)));
page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
const network = await context.newCDPSession(page);
await network.send("Network.enable");
let bytes = 0;
network.on("Network.loadingFinished", ({ encodedDataLength }) => (bytes += encodedDataLength));

const isReady = () => !document.getElementById("text").disabled;
const status = (other) => other.evaluate(() => document.getElementById("status").textContent);
try {
  await page.goto(url);
  await page.waitForFunction(isReady);
  const readyBytes = bytes;
  const readyRequests = [...requests];

  const answers = [];
  for (const question of questions)
    answers.push(
      await page.evaluate(async ({ file, wasm, texts }) => {
        const { Classifier } = await import("./native.js");
        const classifier = await Classifier.load(file, { wasm: new URL(wasm, location.href) });
        const answer = {
          verified: await classifier.verify(),
          ids: texts.map((text) => classifier.encode(text)),
          logits: (await classifier.logits(texts)).map((row) => Array.from(row)),
          probabilities: await classifier.predictProba(texts),
          labels: await classifier.predict(texts),
          alone: await Promise.all(texts.map((text) => classifier.classify(text, 2))),
        };
        await classifier.release();
        return answer;
      }, question),
    );

  const inWorker = await page.evaluate(
    (text) =>
      new Promise((resolve, reject) => {
        const worker = new Worker("worker.js", { type: "module" });
        worker.onmessage = ({ data }) => resolve(data);
        worker.onerror = ({ message }) => reject(new Error(message));
        worker.postMessage(text);
      }),
    typed,
  );

  const said = await page.evaluate(async (files) => {
    const { Classifier } = await import("./native.js");
    const sentences = [];
    for (const file of files)
      try {
        const bytes = Uint8Array.from(atob(file), (character) => character.charCodeAt(0));
        const classifier = await Classifier.load(bytes);
        await classifier.predict(["oil", ""]);
        sentences.push(null);
      } catch (error) {
        sentences.push(`${error.name}: ${error.message}`);
      }
    return sentences;
  }, hostile);

  const box = page.locator("#text");
  await box.fill("");
  await page.waitForFunction(() => document.getElementById("words").dataset.answered === "");
  const labelsOfNothing = await page.locator("#labels li").count();
  await box.pressSequentially(typed);
  await page.waitForFunction((text) => document.getElementById("words").dataset.answered === text, typed);
  const shown = await page.evaluate(() => ({
    soFar: [...document.querySelectorAll("#so-far .answer")].map((mark) => [Number(mark.dataset.end), mark.textContent]),
    label: document.querySelector("#labels li span").textContent,
    figure: document.querySelector("#labels li output").textContent,
    text: document.getElementById("words").textContent,
    contributions: [...document.querySelectorAll("#words span")].map((span) => [span.textContent, Number(span.dataset.contribution)]),
  }));
  const long = "word ".repeat(5000);
  await box.fill(long);
  const longStart = performance.now();
  await page.waitForFunction((text) => document.getElementById("words").dataset.answered === text, long);
  const longMilliseconds = performance.now() - longStart;
  // Which language is this, so far? Nothing of the page knows of languages.
  await page.goto(languagesUrl);
  await page.waitForFunction(isReady);
  await box.pressSequentially(sentence);
  await page.waitForFunction((text) => document.getElementById("words").dataset.answered === text, sentence);
  const languages = await page.evaluate(() => ({
    labels: [...document.querySelectorAll("#labels li")].map((row) => [...row.children].map((child) => child.textContent)),
    soFar: [...document.querySelectorAll("#so-far .answer")].map((mark) => [Number(mark.dataset.end), mark.textContent]),
  }));
  // Some of its languages alone.
  await page.goto(`${languagesUrl}&among=en,de,-und`);
  await page.waitForFunction(isReady);
  await box.fill(sentence);
  await page.waitForFunction((text) => document.getElementById("words").dataset.answered === text, sentence);
  const among = await page.evaluate(() => [...document.querySelectorAll("#labels li")].map((row) => row.textContent));
  const lastErrors = [...errors];

  // Without crypto.subtle, as on plain http from another host.
  const insecure = await page.evaluate(async () => {
    Object.defineProperty(globalThis, "crypto", { value: {} });
    const { Classifier } = await import("./native.js");
    return (await Classifier.load("classifier.prnn")).verify();
  });

  const fallback = await context.newPage();
  await fallback.goto(bundleUrl);
  await fallback.waitForFunction(isReady);
  const bundle = await fallback.evaluate(() => document.getElementById("name").textContent);

  const lacking = await context.newPage();
  await lacking.route("**/*.wasm", (route) => route.fulfill({ status: 404 }));
  await lacking.goto(url);
  await lacking.waitForFunction(() => document.getElementById("status").className === "error");
  const withoutEngine = await status(lacking);

  const none = await context.newPage();
  await none.goto(`${url}?bundle=missing.prnn`);
  await none.waitForFunction(() => document.getElementById("status").className === "error");
  const withoutFile = await status(none);

  process.stdout.write(JSON.stringify({ readyBytes, readyRequests, answers, inWorker, said, shown, languages, among, labelsOfNothing, longMilliseconds, insecure, bundle, withoutEngine, withoutFile, requests, errors: lastErrors }));
} catch (error) {
  throw new Error(`${error.message}\nThe page says: ${await status(page).catch(() => "none")}\n${errors.join("\n")}`, { cause: error });
} finally {
  await context.close();
}
