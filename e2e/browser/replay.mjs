// The cause of a parked event is mended: an operator puts it back in line, with the keyboard alone.
import { check, eventually, input, withPage } from "./session.mjs";
import { signIn } from "./signing.mjs";

const admin = `${input.api_url}/admin`;

await withPage({}, async (page) => {
  await page.goto(`${admin}/events?state=parked&kind=${input.kind}`);
  await signIn(page, input.admin_key);
  await page.getByRole("link", { name: input.kind }).first().focus();
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/admin\/events\/inbox_/);
  const event = page.url();
  await page.getByLabel("Why").first().focus();
  await page.keyboard.type("the catalogue was mended");
  await page.keyboard.press("Enter");
  await page.getByText("The event is in line again.").waitFor();
  await page.goto(event);
  await eventually(page, /^applied\b/m);
  const row = page.getByRole("row", { name: /event\.replay/ });
  const written = await row.innerText();
  check(/the catalogue was mended/.test(written), `the audit log has no reason: ${written}`);
  check(/tollgate dev/.test(written), `the audit log names nobody: ${written}`);
  check((await page.getByRole("button", { name: "Replay" }).count()) === 0, "it can be replayed");

  await page.goto(admin);
  const rest = page.getByRole("button", { name: /^Replay all/ });
  while ((await rest.count()) > 0) {
    await rest.first().click();
    await page.getByRole("status").waitFor();
    await page.waitForTimeout(500);
    await page.goto(admin);
  }
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Admin key").waitFor();
  await page.goto(event);
  check((await page.getByLabel("Admin key").count()) === 1, "the session outlived its end");
});
