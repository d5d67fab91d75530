// A buyer on a phone: promotion codes, a declined card, an account; each page is accessible.
import { check, checkAccessible, checkFits, fillCard, input, withPage } from "./session.mjs";

await withPage({ viewport: { width: 360, height: 640 } }, async (page) => {
  const look = async () => {
    await checkFits(page);
    await checkAccessible(page);
  };
  const total = () => page.locator("#total").innerText();
  const alert = async (words) => {
    await page.getByRole("alert").waitFor();
    const message = await page.getByRole("alert").innerText();
    check(words.test(message), `the alert says: ${message}`);
  };
  const focus = () => page.evaluate(() => document.activeElement.id);

  await page.goto(input.checkout_url);
  await look();
  await page.getByLabel("Promotion code").fill("nothing");
  await page.locator("#apply_code").click();
  await alert(/This code is invalid/);
  check((await focus()) === "code", `after a refused code the focus is on ${await focus()}`);
  await look();
  await page.getByLabel("Promotion code").fill(input.code);
  await page.keyboard.press("Enter");
  await page.locator("#applied_code").waitFor();
  check((await total()) === input.reduced, `with the code it costs ${await total()}`);
  await look();
  await page.getByRole("button", { name: "Remove" }).click();
  await page.locator("#apply_code").waitFor();
  check((await total()) === input.total, `without the code it costs ${await total()}`);
  await page.getByLabel("Promotion code").fill(input.code.toLowerCase());
  await page.locator("#apply_code").click();
  await page.locator("#applied_code").waitFor();

  await fillCard(page, "4000000000000002", input.email);
  await page.locator("#pay").click();
  check(page.url() === input.checkout_url, "the terms were not insisted on");
  check((await page.getByRole("alert").count()) === 0, "it was tried without the terms");
  await page.locator("#terms").check();
  await page.locator("#pay").click();
  await alert(/Your card was declined/);
  check((await focus()) === "card_number", `after a decline the focus is on ${await focus()}`);
  await look();

  await page.locator("#method_bank").check();
  check(!(await page.locator("#card_number").isVisible()), "the card is still asked for");
  await page.locator("#bank_account").fill("123");
  await page.locator("#pay").click();
  await alert(/not one of the test accounts/);
  check(await page.locator("#terms").isChecked(), "the accepted terms were forgotten");
  await look();
  await page.locator("#bank_account").fill("000123456789");
  await page.locator("#pay").click();
  await page.waitForURL(input.success_url);
  return null;
});
