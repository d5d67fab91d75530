// Signed out, /pricing is a guest checkout: the customer comes from what the provider was told.
import { check, eventually, fillCard, input, withPage } from "./session.mjs";

await withPage({}, async (page) => {
  await page.goto(`${input.api_url}/portal`);
  check(!/\bPro\b/.test(await page.locator("body").innerText()), "a stranger sees a portal");
  await page.goto(`${input.api_url}/pricing`);
  await page.locator(`[data-price="${input.price_id}"] button`).click();
  await page.waitForURL(`${input.sandbox_url}/c/pay/**`);
  await fillCard(page, "4242424242424242", input.email);
  await page.locator("#pay").click();
  await page.waitForURL(`${input.api_url}/pay/success**`);
  await eventually(page, /complete|active|thank/i);
});
