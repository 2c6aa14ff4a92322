// Opens reports in headless Chromium, light and dark, and looks at them: no console message of warning or error, no request
// but the page itself, every chart painted, on its canvas and in a screenshot. Plain node, over the DevTools protocol on a
// pipe.
//   node report_browser.mjs CHROMIUM LACONIC DATA_FOLDER [SCREENSHOT_FOLDER]
import { spawn, execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { inflateSync } from "node:zlib";

const [chromium, laconic, data, keep] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), "laconic-report-"));
const failures = [];
const check = (ok, what) => { if (!ok) failures.push(what); };

// --- DevTools protocol: JSON messages ended by a zero byte on file descriptors 3 and 4

class Browser {
  constructor() {
    this.process = spawn(chromium, ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
      "--no-first-run", "--disable-extensions", "--disable-background-networking", "--remote-debugging-pipe",
      "--user-data-dir=" + join(folder, "profile"), "about:blank"], { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
    this.next = 1;
    this.waiting = new Map();
    this.listeners = [];
    let rest = "";
    this.process.stdio[4].setEncoding("utf8").on("data", (text) => {
      const messages = (rest + text).split("\0");
      rest = messages.pop();
      for (const message of messages) this.receive(JSON.parse(message));
    });
    this.gone = new Promise((_, reject) => {
      this.process.on("error", reject);
      this.process.on("exit", (code) => reject(new Error("chromium ended with status " + code)));
    });
    this.gone.catch(() => {});
  }
  receive(message) {
    if (message.id === undefined) return this.listeners.forEach((listener) => listener(message));
    const { resolve, reject } = this.waiting.get(message.id);
    this.waiting.delete(message.id);
    message.error ? reject(new Error(message.error.message)) : resolve(message.result);
  }
  send(method, params = {}, sessionId = undefined) {
    const id = this.next++;
    this.process.stdio[3].write(JSON.stringify({ id, method, params, sessionId }) + "\0");
    const answer = new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
    return Promise.race([answer, this.gone]);
  }
  async close() {
    const ended = new Promise((resolve) => this.process.on("exit", resolve));
    this.send("Browser.close").catch(() => {});
    const timer = setTimeout(() => this.process.kill("SIGKILL"), 2000);
    await ended;
    clearTimeout(timer);
  }
}

// --- PNG of 8 bits a channel, RGB or RGBA, not interlaced: what Chromium writes

function decodePng(bytes) {
  let at = 8, width = 0, height = 0, channels = 0;
  const parts = [];
  while (at < bytes.length) {
    const length = bytes.readUInt32BE(at), type = bytes.toString("latin1", at + 4, at + 8);
    const body = bytes.subarray(at + 8, at + 8 + length);
    if (type === "IHDR") {
      width = body.readUInt32BE(0);
      height = body.readUInt32BE(4);
      if (body[8] !== 8 || body[12] !== 0) throw new Error("unexpected PNG");
      channels = body[9] === 6 ? 4 : 3;
    }
    if (type === "IDAT") parts.push(body);
    at += 12 + length;
  }
  const raw = inflateSync(Buffer.concat(parts));
  const stride = width * channels;
  const pixels = Buffer.alloc(stride * height);
  for (let y = 0; y < height; ++y) {
    const filter = raw[y * (stride + 1)];
    for (let x = 0; x < stride; ++x) {
      const left = x >= channels ? pixels[y * stride + x - channels] : 0;
      const up = y > 0 ? pixels[(y - 1) * stride + x] : 0;
      const corner = x >= channels && y > 0 ? pixels[(y - 1) * stride + x - channels] : 0;
      let predicted = 0;
      if (filter === 1) predicted = left;
      if (filter === 2) predicted = up;
      if (filter === 3) predicted = (left + up) >> 1;
      if (filter === 4) {
        const p = left + up - corner, a = Math.abs(p - left), b = Math.abs(p - up), c = Math.abs(p - corner);
        predicted = a <= b && a <= c ? left : b <= c ? up : corner;
      }
      pixels[y * stride + x] = raw[y * (stride + 1) + 1 + x] + predicted;
    }
  }
  return { width, height, channels, pixels };
}

// Of a rectangle: how many pixels differ from its most frequent colour (the paper), and how many colours cover at least 50.
function painted(image, rectangle) {
  const counts = new Map();
  let total = 0;
  for (let y = Math.ceil(rectangle.top); y < Math.min(image.height, rectangle.bottom); ++y) {
    for (let x = Math.ceil(rectangle.left); x < Math.min(image.width, rectangle.right); ++x) {
      const i = (y * image.width + x) * image.channels;
      const color = image.pixels[i] << 16 | image.pixels[i + 1] << 8 | image.pixels[i + 2];
      counts.set(color, (counts.get(color) || 0) + 1);
      ++total;
    }
  }
  const sorted = [...counts.values()].sort((a, b) => b - a);
  return { share: total > 0 ? (total - sorted[0]) / total : 0, colors: sorted.filter((n) => n >= 50).length };
}

// Runs in the page: rectangles of charts, and of each canvas the share of pixels that are not transparent.
const inspect = `Array.from(document.querySelectorAll(".chart"), (chart) => {
  const box = chart.querySelector(".u-over").getBoundingClientRect(), canvas = chart.querySelector("canvas");
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let opaque = 0;
  for (let i = 3; i < data.length; i += 4) opaque += data[i] > 0;
  return { label: chart.getAttribute("aria-label"), opaque: opaque / (data.length / 4),
    left: box.left + scrollX, top: box.top + scrollY, right: box.right + scrollX, bottom: box.bottom + scrollY };
})`;

// wanted: {name, charts, rows}, and in `more` what else is true of the page, as expressions.
async function look(browser, page, scheme, wanted) {
  const { targetId } = await browser.send("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await browser.send("Target.attachToTarget", { targetId, flatten: true });
  const send = (method, params) => browser.send(method, params, sessionId);
  const evaluate = async (expression) => {
    const { result, exceptionDetails } = await send("Runtime.evaluate", { expression, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description || exceptionDetails.text);
    return result.value;
  };
  const loaded = new Promise((resolve) => browser.listeners.push((message) => {
    if (message.sessionId !== sessionId) return;
    const { method, params } = message;
    if (method === "Page.loadEventFired") resolve();
    if (method === "Runtime.exceptionThrown") check(false, `${scheme}: ${params.exceptionDetails.exception?.description}`);
    if (method === "Runtime.consoleAPICalled" && ["error", "warning", "assert"].includes(params.type)) {
      check(false, `${scheme}: console.${params.type}: ${JSON.stringify(params.args)}`);
    }
    if (method === "Log.entryAdded" && ["error", "warning"].includes(params.entry.level)) check(false, `${scheme}: ${params.entry.text}`);
    if (method === "Network.requestWillBeSent" && !/^(file|data):/.test(params.request.url)) check(false, "request of " + params.request.url);
  }));
  for (const domain of ["Page", "Runtime", "Log", "Network"]) await send(domain + ".enable");
  await send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
  await send("Emulation.setDeviceMetricsOverride", { width: 1200, height: 900, deviceScaleFactor: 1, mobile: false });
  await send("Page.navigate", { url: pathToFileURL(page).href });
  await Promise.race([loaded, browser.gone]);

  const charts = await evaluate(inspect);
  const tables = await evaluate("document.querySelectorAll('.table table tbody tr').length");
  const paper = await evaluate("getComputedStyle(document.body).backgroundColor");
  check(charts.length === wanted.charts, `${wanted.name}, ${scheme}: ${charts.length} charts, not ${wanted.charts}`);
  check(tables >= wanted.rows, `${wanted.name}, ${scheme}: ${tables} table rows`);
  for (const expression of wanted.more) check(await evaluate(expression), `${wanted.name}, ${scheme}: not so: ${expression}`);
  check(scheme === "dark" ? /rgb\(20, 24, 29\)/.test(paper) : /rgb\(255, 255, 255\)/.test(paper), `${scheme}: background ${paper}`);
  check(await evaluate("document.documentElement.scrollWidth <= innerWidth"), `${scheme}: the page is wider than the window`);
  const { data } = await send("Page.captureScreenshot", { format: "png", captureBeyondViewport: true,
    clip: { x: 0, y: 0, width: 1200, height: await evaluate("document.documentElement.scrollHeight"), scale: 1 } });
  const png = Buffer.from(data, "base64");
  if (keep) writeFileSync(join(keep, `${wanted.name}-${scheme}.png`), png);
  const image = decodePng(png);
  for (const chart of charts) {
    const seen = painted(image, chart);
    // Grid lines alone are one colour and under 2 % of the plotting area; series add colours of their own.
    check(chart.opaque > 0.01, `${scheme}: canvas of "${chart.label}" is blank (${chart.opaque})`);
    check(seen.colors >= 3 && seen.share > 0.005, `${scheme}: "${chart.label}" is blank in the screenshot (${JSON.stringify(seen)})`);
  }
  await browser.send("Target.closeTarget", { targetId });
  return charts.length;
}

const begin = Date.now();
let browser, charts = 0;
try {
  const page = join(folder, "report.html"), fed = join(folder, "fed");
  execFileSync(laconic, ["report", join(data, "allreduce.json"), join(data, "codec.json"), "-o", page]);
  execFileSync(laconic, ["fed", "run", "--data", "generate:logistic(test=500)", "--clients", "20", "--sample", "5", "--rounds", "40",
    "--seeds", "1,2", "--network", "network(up=1Mbit, down=10Mbit, latency=20ms, step=5ms)", "-o", fed]);
  // The heat map is painted, and another uplink rate gives other charts.
  const painted = `(() => { const c = document.querySelector("canvas.split");
    return c.getContext("2d").getImageData(0, 0, c.width, c.height).data.some((v, i) => i % 4 === 3 && v > 0); })()`;
  const choose = `(() => { window.charts = () => [...document.querySelectorAll(".chart canvas")].map((c) => c.toDataURL());
    window.before = charts();
    const choice = document.getElementById("uplink");
    choice.value = "250000";
    return choice.dispatchEvent(new Event("change")); })()`;
  const redrawn = "charts().filter((c, i) => c !== before[i]).length === 1";
  browser = new Browser();
  for (const scheme of ["light", "dark"]) {
    charts += await look(browser, page, scheme, { name: "report", charts: 9, rows: 51, more: [] });
    charts += await look(browser, join(fed, "report.html"), scheme, { name: "fed", charts: 5, rows: 9, more: [painted, choose, redrawn] });
  }
} catch (error) {
  failures.push(error.stack);
} finally {
  if (browser) await browser.close();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
}
for (const failure of failures) console.error("FAILED: " + failure);
console.log(`${charts} charts in two colour schemes, ${((Date.now() - begin) / 1000).toFixed(1)} s`);
process.exit(failures.length > 0 ? 1 : 0);
