// Opens the page in headless Chromium with packed files of numbers beside it, gives it recordings, and events of a motion sensor;
// prints what it shows.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { modules, chromium, profile, url, recordings, events } = JSON.parse(readFileSync(0));
const playwright = createRequire(join(modules, "x.js"))("playwright-core");
const context = await playwright.chromium.launchPersistentContext(profile, {
  executablePath: chromium,
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const errors = [];
const page = await context.newPage();
page.on("pageerror", (error) => errors.push(String(error)));
page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
const shown = () =>
  page.evaluate(() => ({
    status: document.getElementById("status").textContent,
    isError: document.getElementById("status").className === "error",
    channels: document.getElementById("channels").textContent,
    now: [...document.querySelectorAll("#now li")].map((row) => [row.children[0].textContent, row.children[2].textContent]),
    windows: [...document.querySelectorAll("#windows li")].map((row) => row.textContent).reverse(),
    sensor: !document.getElementById("sensor").hidden,
  }));
const open = async (file) => {
  await page.goto(`${url}?bundle=${file}`);
  await page.waitForFunction(() => document.getElementById("recording"));
};
const begins = (begin) => page.waitForFunction((said) => document.getElementById("status").textContent.startsWith(said), begin);
try {
  const answers = [];
  for (const { file, csv, waits } of recordings) {
    await open(file);
    await page.setInputFiles("#recording", { name: "recording.csv", mimeType: "text/csv", buffer: Buffer.from(csv) });
    await begins(waits);
    answers.push(await shown());
  }
  await open(recordings[0].file);
  await page.click("#listen");
  await begins("Reading");
  await page.evaluate((all) => {
    for (const { time, acceleration } of all) {
      const event = new DeviceMotionEvent("devicemotion", { accelerationIncludingGravity: acceleration, interval: 20 });
      Object.defineProperty(event, "timeStamp", { value: time });
      dispatchEvent(event);
    }
  }, events);
  await page.waitForFunction(() => document.querySelectorAll("#windows li").length >= 2);
  const sensor = await shown();
  await page.click("#listen");
  process.stdout.write(JSON.stringify({ answers, sensor, stopped: await page.textContent("#listen"), errors }));
} finally {
  await context.close();
}
