// The sandbox's own page: let time pass, send an event again, break something and mend it.
import { check, checkAccessible, checkFits, eventually, input, withPage } from "./session.mjs";

await withPage({}, async (page) => {
  await page.goto(`${input.sandbox_url}/_sandbox`);
  await page.getByRole("link", { name: "Cards", exact: true }).click();
  await page.getByRole("button", { name: "Choose 4000 0000 0000 9995" }).click();
  await page.getByText("is filled with").waitFor();
  await page.goto(input.checkout_url);
  const filled = await page.locator("[name=card_number]").inputValue();
  check(filled === "4000 0000 0000 9995", `the page was filled with ${filled}`);

  await page.goto(`${input.sandbox_url}/_sandbox`);
  const now = async () => Date.parse(await page.locator("#now time").getAttribute("datetime"));
  const before = await now();
  await page.getByRole("button", { name: "Advance a week" }).click();
  await eventually(page, /Advance a week/);
  const days = ((await now()) - before) / 86_400_000;
  check(days >= 7 && days < 8, `a week lasted ${days} days`);

  await page.getByRole("link", { name: "Events", exact: true }).click();
  await page.getByRole("link", { name: input.event }).first().click();
  await eventually(page, /has arrived/);
  const attempts = () => page.locator("tbody tr").count();
  const sent = await attempts();
  await page.getByRole("button", { name: "Send it again" }).click();
  await eventually(page, /has arrived/);
  check((await attempts()) === sent + 1, `${sent} attempts became ${await attempts()}`);

  await page.getByRole("link", { name: "Faults", exact: true }).click();
  await page.getByLabel("Lost (%)").fill("100");
  await page.getByLabel("Answers", { exact: true }).selectOption("500");
  await page.getByRole("button", { name: "Set these faults" }).click();
  await page.getByText("100 % of webhooks lost").waitFor();
  const broken = await page.request.get(`${input.sandbox_url}/v1/customers`, input.authorised);
  check(broken.status() === 500, `the API answers ${broken.status()}`);
  await page.goto(`${input.sandbox_url}/_sandbox`);
  await page.getByRole("button", { name: "End all faults" }).click();
  await page.getByText("All faults have ended").waitFor();
  const mended = await page.request.get(`${input.sandbox_url}/v1/customers`, input.authorised);
  check(mended.status() === 200, `the API answers ${mended.status()}`);

  await page.goto(`${input.sandbox_url}/_sandbox/objects?kind=subscription`);
  await page.locator("tbody a").first().click();
  await page.getByRole("link", { name: /^cus_/ }).first().click();
  check(/\/objects\/cus_/.test(page.url()), `the customer's link led to ${page.url()}`);
  const customer = page.url();

  const paths = ["", "/events", "/webhooks", "/faults", "/cards", "/objects?kind=price"];
  const pages = [...paths.map((path) => `${input.sandbox_url}/_sandbox${path}`), customer];
  for (const colorScheme of ["light", "dark"]) {
    for (const width of [360, 1280]) {
      await page.setViewportSize({ width, height: 800 });
      await page.emulateMedia({ colorScheme });
      for (const address of pages) {
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
  return { pages: pages.length };
});
