// Playwright (JavaScript): `npm install playwright-core`, then `node playwright.mjs`.
import assert from "node:assert/strict";
import { test } from "node:test";
import { chromium } from "playwright-core";
import { authenticator, start } from "./doppelkey.mjs";

test("sign up, autofill, PRF, a wrong finger, a user who cancels", async (t) => {
  const key = await authenticator();
  t.after(key.stop);
  const site = await start("relying-party", "--db", "memory", "--listen", "127.0.0.1:0");
  t.after(site.stop);
  const browser = await chromium.launchPersistentContext("", {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: false, // extensions need the new headless mode, which is an argument
    args: ["--headless=new", "--no-sandbox", `--load-extension=${key.chromium}`, `--disable-extensions-except=${key.chromium}`],
    ignoreDefaultArgs: ["--disable-extensions"],
  });
  t.after(() => browser.close());
  const page = await browser.newPage();

  await t.test("sign up", async () => {
    await page.goto(`${site.url}/signup`);
    await page.fill("[name=email]", "mona@example.com");
    await page.click("button[type=submit]");
    await page.click("[data-ceremony=create]");
    await page.waitForURL("**/account");
    await page.click("form[action='/logout'] button");
  });

  await t.test("autofill", async () => {
    await page.goto(`${site.url}/login`);
    await page.locator("[autocomplete~=webauthn]").blur();
    await page.locator("[autocomplete~=webauthn]").focus();
    await page.click("text=mona@example.com (passkey)");
    await page.waitForURL("**/account");
    await page.click("form[action='/logout'] button");
  });

  const prf = () => page.evaluate(async () => {
    const challenge = new Uint8Array(32);
    const extensions = { prf: { eval: { first: new TextEncoder().encode("my key") } } };
    const used = await navigator.credentials.get({ publicKey: { challenge, extensions } });
    return [...new Uint8Array(used.getClientExtensionResults().prf.results.first)];
  });

  await t.test("PRF", async () => {
    await page.evaluate(async () => {
      await navigator.credentials.create({ publicKey: {
        rp: { name: "Example" }, user: { id: new Uint8Array([1]), name: "prf", displayName: "" },
        challenge: new Uint8Array(32), pubKeyCredParams: [{ type: "public-key", alg: -7 }, { type: "public-key", alg: -257 }],
        authenticatorSelection: { residentKey: "required" }, extensions: { prf: {} } } });
    });
    const first = await prf();
    assert.equal(first.length, 32);
    assert.deepEqual(await prf(), first);
  });

  await t.test("a wrong finger, then the right one", async () => {
    await key.habits({ manner: "control" });
    await key.deed("fail-verification");
    await key.deed("verify");
    assert.equal((await prf()).length, 32);
    await key.habits({ manner: "auto" });
  });

  await t.test("a user who cancels", async () => {
    await key.habits({ manner: "deny" });
    await page.goto(`${site.url}/login`);
    await page.click("[data-ceremony=get]");
    await page.locator("#error").waitFor({ state: "visible" });
    assert.match(await page.locator("#error").innerText(), /No passkey was used/);
  });
});
