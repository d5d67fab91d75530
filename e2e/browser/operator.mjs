// An operator's pages: only the right key opens them, they read well everywhere, and what an event
// says stays text.
import { check, checkAccessible, checkFits, input, withPage } from "./session.mjs";
import { signIn } from "./signing.mjs";

const admin = `${input.api_url}/admin`;

/** Every page, on a phone and on a desk, light and dark. */
async function look(page, addresses) {
  for (const colorScheme of ["light", "dark"]) {
    for (const width of [360, 1280]) {
      await page.setViewportSize({ width, height: 800 });
      await page.emulateMedia({ colorScheme });
      for (const address of addresses) {
        await page.goto(address);
        await checkFits(page);
        await checkAccessible(page);
        if (input.screenshots) {
          const name = new URL(address).pathname.replaceAll("/", "-");
          const path = `${input.screenshots}/${width}-${colorScheme}${name}.png`;
          await page.screenshot({ path, fullPage: true });
        }
      }
    }
  }
}

await withPage({}, async (page, context) => {
  await look(page, [admin]);
  const wanted = `${admin}/events?state=parked`;
  await page.goto(wanted);
  for (const wrong of ["sk_test_invented", input.server_key]) {
    await signIn(page, wrong);
    await page.getByRole("alert").waitFor();
    const said = await page.getByRole("alert").innerText();
    check(/no valid admin key/.test(said), `a wrong key is refused with: ${said}`);
    check((await context.cookies()).length === 0, "a wrong key left a cookie");
  }
  await checkAccessible(page);
  await signIn(page, input.admin_key);
  await page.waitForURL(wanted);
  const [cookie] = await context.cookies();
  check(cookie.httpOnly && cookie.sameSite === "Strict", "the cookie can be read or sent along");

  await page.getByRole("link", { name: input.kind }).first().click();
  const event = page.url();
  const why = await page.locator("p.alert").innerText();
  check(why.includes("known"), `it was parked because: ${why}`);
  const evil = `${admin}/events/${input.evil_event}`;
  await page.goto(evil);
  const payload = await page.locator("pre").textContent();
  check(payload.includes("<script>"), `the payload is not shown as it came: ${payload}`);
  check(await page.evaluate(() => window.hacked === undefined), "the payload was run");
  const more = ["/events", "/audits", "/calls", "/deliveries", "/sync-runs"].map((path) => admin + path);
  await look(page, [admin, event, evil, ...more]);
});

// Reading, filtering and acting need no scripts.
await withPage({ javaScriptEnabled: false }, async (page) => {
  await page.goto(admin);
  await signIn(page, input.admin_key);
  await page.getByRole("link", { name: "Events", exact: true }).click();
  await page.getByLabel("State").selectOption("applied");
  await page.getByLabel("Type").fill("invoice.*");
  await page.keyboard.press("Enter");
  await page.waitForURL(/state=applied/);
  const found = await page.locator("tbody tr").count();
  check(found === 0, `${found} invoices of a customer who bought a pack`);
  await page.getByLabel("Type").fill("checkout.session.completed");
  await page.keyboard.press("Enter");
  await page.locator("tbody tr").first().waitFor();
});
