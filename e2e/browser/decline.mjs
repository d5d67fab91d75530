// A declined card is an alert on the hosted page; the same page then takes a good card.
import { check, eventually, fillCard, input, withPage } from "./session.mjs";

await withPage({}, async (page) => {
  await page.goto(input.checkout_url);
  await fillCard(page, input.card, input.email);
  await page.locator("#pay").click();
  const alert = page.getByRole("alert");
  await alert.waitFor();
  const message = await alert.innerText();
  check(/declin|fund|expired|process/i.test(message), `the alert says: ${message}`);
  check(page.url().startsWith(input.sandbox_url), `a decline led to ${page.url()}`);
  if (!input.then) return { message };

  await fillCard(page, input.then, input.email);
  await page.locator("#pay").click();
  await page.waitForURL(`${input.api_url}/pay/success**`);
  await eventually(page, /complete|active|thank/i);
  return { message };
});
