// Every page on a phone and on a desk, light and dark: accessible, and never wider than the screen.
import { checkAccessible, checkFits, input, withPage } from "./session.mjs";

const screens = [
  { viewport: { width: 360, height: 640 }, colorScheme: "light" },
  { viewport: { width: 360, height: 640 }, colorScheme: "dark" },
  { viewport: { width: 1280, height: 800 }, colorScheme: "light" },
  { viewport: { width: 1280, height: 800 }, colorScheme: "dark" },
];

await withPage({}, async (page) => {
  if (input.portal_link) await page.goto(input.portal_link);
  for (const { viewport, colorScheme } of screens) {
    await page.setViewportSize(viewport);
    await page.emulateMedia({ colorScheme });
    for (const address of input.pages) {
      await page.goto(address);
      await checkFits(page);
      await checkAccessible(page);
      if (input.screenshots) {
        const name = new URL(address).pathname.replaceAll("/", "-");
        const path = `${input.screenshots}/${viewport.width}-${colorScheme}${name}.png`;
        await page.screenshot({ path, fullPage: true });
      }
    }
  }
  return { pages: input.pages.length * screens.length };
});
