// A headless Chromium for one script: given one JSON argument, it prints one JSON line at the end.
import { createRequire } from "node:module";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const require = createRequire(process.env.TOLLGATE_NODE_MODULES + "/");
const { chromium } = require("playwright-core");
const axeSource = require("axe-core").source;

export const input = JSON.parse(process.argv[2]);

// Chromium would otherwise look for updates and call its maker's hosts at every start.
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--disable-dev-shm-usage",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Runs `body(page, context)` in a new browser; what it returns is the script's result. */
export async function withPage(options, body) {
  const profile = mkdtempSync(join(tmpdir(), "tollgate-browser-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.TOLLGATE_CHROMIUM,
    headless: true,
    args: FLAGS,
    ...options,
  });
  context.setDefaultTimeout(20_000);
  const problems = [];
  try {
    const page = context.pages()[0] ?? (await context.newPage());
    page.on("pageerror", (error) => problems.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "error" && /Content.Security.Policy/i.test(message.text())) {
        problems.push(message.text());
      }
    });
    let result;
    try {
      result = await body(page, context);
    } catch (error) {
      console.error(`at ${page.url()}`);
      console.error(await page.locator("body").innerText().catch(() => "(no page)"));
      throw error;
    }
    check(problems.length === 0, `the pages reported: ${problems.join("; ")}`);
    console.log(JSON.stringify(result ?? null));
  } finally {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  }
}

export function check(condition, message) {
  if (!condition) throw new Error(message);
}

/** Fails on any violation of WCAG 2.2 A and AA that axe can see. */
export async function checkAccessible(page) {
  await page.evaluate(axeSource);
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
  const { violations } = await page.evaluate(
    (values) => window.axe.run(document, { runOnly: { type: "tag", values } }),
    tags,
  );
  const found = violations.map(
    ({ id, help, nodes }) => `${id} (${help}): ${nodes.map((node) => node.html).join(" ")}`,
  );
  check(found.length === 0, `${page.url()} is not accessible:\n${found.join("\n")}`);
}

/** Fails where a phone would have to scroll sideways. */
export async function checkFits(page) {
  const { content, screen } = await page.evaluate(() => ({
    content: document.documentElement.scrollWidth,
    screen: window.innerWidth,
  }));
  check(content <= screen, `${page.url()} is ${content} px wide on a screen of ${screen} px`);
}

export async function fillCard(page, number, email) {
  const address = page.locator("[name=email]");
  if ((await address.count()) > 0 && (await address.isEditable())) await address.fill(email);
  await page.locator("[name=card_number]").fill(number);
  await page.locator("[name=card_expiry]").fill("12 / 40");
  await page.locator("[name=card_cvc]").fill("123");
  await page.locator("[name=name]").fill("Test Buyer");
}

/** Waits until the page's text shows something, reloading as a person would. */
export async function eventually(page, text) {
  for (let attempt = 0; attempt < 40; attempt += 1) {
    const body = await page.locator("body").innerText();
    if (text.test(body)) return body;
    await page.waitForTimeout(250);
    await page.reload();
  }
  throw new Error(`${page.url()} never showed ${text}`);
}
