// Signing in to the operator's pages, as a person does it.

export async function signIn(page, key) {
  await page.getByLabel("Admin key").fill(key);
  await page.getByRole("button", { name: "Sign in" }).click();
}
