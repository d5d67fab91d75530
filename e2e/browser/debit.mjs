// A bank account on the hosted page: the page completes, the money comes later or never.
import { input, withPage } from "./session.mjs";

await withPage({}, async (page) => {
  await page.goto(input.checkout_url);
  await page.locator("#method_bank").check();
  await page.locator("#bank_account").fill(input.account);
  await page.locator("[name=name]").fill("Test Buyer");
  await page.locator("#pay").click();
  await page.waitForURL(`${input.api_url}/pay/success**`);
  return null;
});
