// The whole purchase without a mouse, in the order in which Tab visits things.
import { check, eventually, input, withPage } from "./session.mjs";

/** Presses Tab until the focused element is the wanted one, as a person would. */
async function tabTo(page, what, selector) {
  for (let presses = 0; presses < 80; presses += 1) {
    await page.keyboard.press("Tab");
    const found = await page.evaluate(
      (wanted) => document.activeElement.matches(wanted),
      selector,
    );
    if (found) {
      const visible = await page.evaluate(() => {
        const style = getComputedStyle(document.activeElement);
        return style.outlineStyle !== "none" || style.boxShadow !== "none";
      });
      check(visible, `focus on ${what} cannot be seen`);
      return;
    }
  }
  throw new Error(`Tab never reached ${what} on ${page.url()}`);
}

await withPage({}, async (page) => {
  await page.goto(input.portal_link);
  await page.goto(`${input.api_url}/pricing`);
  await tabTo(page, "Subscribe", `[data-price="${input.price_id}"] button`);
  await page.keyboard.press("Enter");
  await page.waitForURL(`${input.sandbox_url}/c/pay/**`);

  const fields = {
    card_number: "4242424242424242",
    card_expiry: "12 / 40",
    card_cvc: "123",
    name: "Test Buyer",
  };
  for (const [name, value] of Object.entries(fields)) {
    await tabTo(page, name, `[name="${name}"]`);
    await page.keyboard.type(value);
  }
  await tabTo(page, "pay", "#pay");
  await page.keyboard.press("Enter");
  await page.waitForURL(`${input.api_url}/pay/success**`);
  await eventually(page, /complete|active|thank/i);
  await page.goto(`${input.api_url}/portal`);
  await eventually(page, /\bPro\b[\s\S]*\b100\b/);
});
