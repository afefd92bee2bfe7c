// The page as an artist uses it: open the template, run it, see the clip on its node, drop the clip's
// file on an empty canvas. Prints what it saw as JSON.
//
//   node page.js CHROMIUM PORT classic|vue STILL FOLDER    (screenshots go to FOLDER)
const { chromium } = require("playwright-core");

const [browserPath, port, renderer, still, folder] = process.argv.slice(2);
const seen = {};

async function open(page) {
  await page.goto(`http://127.0.0.1:${port}/`, { waitUntil: "domcontentloaded" });
  await page.waitForFunction(() => window.app?.graph && window.app?.extensionManager);
  await page.waitForTimeout(3000);
}

async function chooseRenderer(page) {
  const vue = renderer === "vue";
  await page.evaluate(async (on) => app.extensionManager.setting.set("Comfy.VueNodes.Enabled", on), vue);
  if (vue) await open(page);
  await page.keyboard.press("Escape"); // the greeting
}

async function openTemplate(page) {
  const missing = await page.evaluate(async (name) => {
    const answer = await fetch("/api/workflow_templates/trip/animate_a_still.json");
    await app.loadGraphData(await answer.json());
    const image = app.graph.nodes.find((node) => node.type === "LoadImage");
    image.widgets.find((widget) => widget.name === "image").value = name;
    return app.graph.nodes.map((n) => n.type).filter((type) => !LiteGraph.registered_node_types[type]);
  }, still);
  seen.missing = missing.filter((type) => !["MarkdownNote", "Note"].includes(type));
  seen.nodes = await types(page);
}

async function run(page) {
  seen.status = await page.evaluate(async () => {
    const newest = async () =>
      Object.entries(await (await fetch("/api/history?max_items=1")).json())[0] ?? [null, {}];
    const [before] = await newest(); // of other tests in this host
    await app.queuePrompt(0);
    for (let waited = 0; waited < 240; waited++) {
      const [ident, { status }] = await newest();
      if (ident !== before && status) return status.status_str;
      await new Promise((next) => setTimeout(next, 1000));
    }
    return "it did not end";
  });
  await page.waitForTimeout(3000);
  await page.evaluate(() => app.extensionManager.command.execute("Comfy.Canvas.FitView"));
  await page.waitForTimeout(3000);
  await page.screenshot({ path: `${folder}/${renderer}-ran.png` });
  seen.videos = await page.evaluate(() =>
    [...document.querySelectorAll("video")].map((v) => [v.videoWidth, v.videoHeight, v.duration]));
}

async function dropTheClip(page) {
  const held = await page.evaluateHandle(async () => {
    const history = Object.values(await (await fetch("/api/history?max_items=1")).json())[0];
    const files = Object.values(history.outputs).flatMap((output) => output.images ?? []);
    const clip = files.find((file) => file.filename.endsWith(".mp4"));
    const data = await (await fetch("/api/view?" + new URLSearchParams(clip))).arrayBuffer();
    const transfer = new DataTransfer();
    transfer.items.add(new File([data], clip.filename, { type: "video/mp4" }));
    app.graph.clear();
    return transfer;
  });
  seen.cleared = await types(page);
  for (const kind of ["dragover", "drop"])
    await page.dispatchEvent("#graph-canvas", kind, {
      dataTransfer: held, clientX: 700, clientY: 400, bubbles: true });
  await page.waitForTimeout(4000);
  seen.dropped = await types(page);
  await page.screenshot({ path: `${folder}/${renderer}-dropped.png` });
}

const types = (page) => page.evaluate(() => app.graph.nodes.map((node) => node.type).sort());

(async () => {
  const browser = await chromium.launch({
    executablePath: browserPath, args: ["--no-sandbox", "--disable-gpu"] });
  const page = await browser.newPage({ viewport: { width: 1600, height: 900 } });
  page.setDefaultTimeout(180000);
  await open(page);
  await chooseRenderer(page);
  await openTemplate(page);
  await run(page);
  if (seen.status === "success") await dropTheClip(page);
  await browser.close();
  console.log(JSON.stringify(seen));
})().catch((error) => { console.error(error); process.exit(1); });
