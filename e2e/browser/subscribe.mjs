// Portal link -> /pricing -> Subscribe -> hosted page -> 4242… -> success -> /portal shows Pro.
import { check, eventually, fillCard, input, withPage } from "./session.mjs";

await withPage({}, async (page) => {
  await page.goto(input.portal_link);
  check(new URL(page.url()).pathname === "/portal", `the link led to ${page.url()}`);
  check(!page.url().includes("token"), `a token stayed in the address: ${page.url()}`);

  await page.goto(`${input.api_url}/pricing`);
  await page.locator(`[data-price="${input.price_id}"] button`).click();
  await page.waitForURL(`${input.sandbox_url}/c/pay/**`);
  const hosted = await page.locator("body").innerText();
  check(/29\.99/.test(hosted), "the hosted page does not show the price");
  check(/sandbox/i.test(hosted), "the hosted page does not say that it is a simulation");

  await fillCard(page, "4242424242424242", input.email);
  await page.locator("#pay").click();
  await page.waitForURL(`${input.api_url}/pay/success**`);
  await eventually(page, /complete|active|thank/i);

  await page.goto(`${input.api_url}/portal`);
  const portal = await eventually(page, /\bPro\b[\s\S]*\b100\b/);
  return { portal };
});
