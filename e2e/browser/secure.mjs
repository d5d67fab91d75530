// A card that asks for 3-D Secure: the bank's page first says no, then, on a second try, yes.
import { check, eventually, fillCard, input, withPage } from "./session.mjs";

await withPage({}, async (page) => {
  await page.goto(input.checkout_url);
  for (const answer of input.answers) {
    await fillCard(page, "4000002760003184", input.email);
    await page.locator("#pay").click();
    await page.waitForURL("**/authenticate");
    await page.getByRole("button", { name: new RegExp(answer, "i") }).click();
    if (answer === "fail") {
      const message = await page.getByRole("alert").innerText();
      check(/authenticat/i.test(message), `the alert says: ${message}`);
    }
  }
  if (input.answers.at(-1) === "fail") return null;
  await page.waitForURL(`${input.api_url}/pay/success**`);
  await eventually(page, /complete|active|thank/i);
  return null;
});
