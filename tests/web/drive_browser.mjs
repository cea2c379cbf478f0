// Opens the page in headless Chromium, asks the browser runtime for the logits of many texts, types into the page, and
// prints what came of it, with every address that was asked for.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { modules, chromium, profile, url, questions, typed, screenshot } = JSON.parse(readFileSync(0));
const playwright = createRequire(join(modules, "x.js"))("playwright-core");
const context = await playwright.chromium.launchPersistentContext(profile, {
  executablePath: chromium,
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const requests = [];
const errors = [];
context.on("request", (request) => requests.push(request.url()));
const page = await context.newPage();
page.on("pageerror", (error) => errors.push(String(error)));
page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
try {
  const opened = performance.now();
  await page.goto(`${url}?bundle=${encodeURIComponent(questions[0].bundle)}`);
  await page.waitForFunction(() => !document.getElementById("text").disabled);
  const ready = performance.now() - opened;

  const answers = [];
  for (const question of questions)
    answers.push(
      await page.evaluate(async ({ bundle, texts }) => {
        const { Classifier } = await import("./pocketrnn.js");
        const ort = await import("./ort/ort.wasm.bundle.min.mjs");
        const classifier = await Classifier.load(bundle, { ort });
        const verified = await classifier.verify();
        const start = performance.now();
        const together = await classifier.logits(texts);
        const milliseconds = performance.now() - start;
        const lone = performance.now();
        const alone = await Promise.all(texts.map((text) => classifier.classify(text, 2)));
        const answer = {
          verified,
          ids: texts.map((text) => classifier.encode(text)),
          logits: together.map((row) => Array.from(row)),
          probabilities: await classifier.predictProba(texts),
          labels: await classifier.predict(texts),
          alone,
          milliseconds,
          millisecondsAlone: performance.now() - lone,
        };
        await classifier.release();
        return answer;
      }, question),
    );

  const box = page.locator("#text");
  await box.fill("");
  await box.pressSequentially(typed);
  await page.waitForFunction((text) => document.getElementById("words").dataset.answered === text, typed);
  const shown = await page.evaluate(() => ({
    label: document.querySelector("#labels li span").textContent,
    figure: document.querySelector("#labels li output").textContent,
    text: document.getElementById("words").textContent,
    contributions: [...document.querySelectorAll("#words span")].map((span) => [span.textContent, Number(span.dataset.contribution), getComputedStyle(span).backgroundColor]),
  }));
  if (screenshot) await page.screenshot({ path: screenshot });

  const long = "word ".repeat(5000);
  await box.fill(long);
  const longStart = performance.now();
  await page.waitForFunction((text) => document.getElementById("words").dataset.answered === text, long);
  const longMilliseconds = performance.now() - longStart;

  // The digests once more where there is no secure context, and so no crypto.subtle.
  const insecure = await page.evaluate(async (bundle) => {
    Object.defineProperty(globalThis, "crypto", { value: {} });
    const { Classifier } = await import("./pocketrnn.js");
    const ort = await import("./ort/ort.wasm.bundle.min.mjs");
    return (await Classifier.load(bundle, { ort })).name;
  }, questions[0].bundle);

  const refused = await page.evaluate(async () => {
    const { Classifier } = await import("./pocketrnn.js");
    const ort = await import("./ort/ort.wasm.bundle.min.mjs");
    const errorOf = (bundle) => Classifier.load(bundle, { ort }).then(() => null, (error) => `${error.name}: ${error.message}`);
    return [await errorOf("nothing-here/"), await errorOf("http://another-host.invalid/bundle/")];
  });
  process.stdout.write(JSON.stringify({ ready, answers, shown, longMilliseconds, insecure, refused, requests, errors, version: context.browser()?.version() ?? null }));
} catch (error) {
  const status = await page.evaluate(() => document.getElementById("status")?.textContent).catch(() => "none");
  throw new Error(`${error.message}\nThe page says: ${status}\n${errors.join("\n")}`, { cause: error });
} finally {
  await context.close();
}
