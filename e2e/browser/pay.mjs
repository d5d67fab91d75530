// Any card on the hosted page, up to the page that thanks for it.
import { eventually, fillCard, input, withPage } from "./session.mjs";

await withPage({}, async (page) => {
  await page.goto(input.checkout_url);
  await fillCard(page, input.card, input.email);
  await page.locator("#pay").click();
  await page.waitForURL(`${input.api_url}/pay/success**`);
  await eventually(page, /complete|active|thank/i);
  return null;
});
