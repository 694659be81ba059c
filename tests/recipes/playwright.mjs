// Playwright (JavaScript): `npm install playwright-core`, then `node playwright.mjs`.
import assert from "node:assert/strict";
import { test } from "node:test";
import { chromium } from "playwright-core";
import { hand, start } from "./doppelkey.mjs";

test("sign up, autofill, PRF, a wrong finger, a user who cancels; a cloned and a synced passkey", async (t) => {
  const ours = await hand();
  t.after(ours.drop);
  const key = await ours.plug();
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

  const signUp = async (email) => {
    await page.goto(`${site.url}/signup`);
    await page.fill("[name=email]", email);
    await page.click("button[type=submit]");
    await page.click("[data-ceremony=create]");
    await signedIn();
  };
  const signIn = async () => {
    await page.goto(`${site.url}/login`);
    await page.click("[data-ceremony=get]");
    await signedIn();
  };
  const signedIn = async () => {
    await page.waitForURL("**/account");
    await page.click("form[action='/logout'] button");
  };
  const refused = async () => {
    await page.goto(`${site.url}/login`);
    await page.click("[data-ceremony=get]");
    await page.locator("#error").waitFor({ state: "visible" });
    return page.locator("#error").innerText();
  };

  await t.test("sign up", () => signUp("mona@example.com"));

  await t.test("autofill", async () => {
    await page.goto(`${site.url}/login`);
    await page.locator("[autocomplete~=webauthn]").blur();
    await page.locator("[autocomplete~=webauthn]").focus();
    // The names are the user's to see, not the page's: picked by the keyboard, once the list is there.
    await page.locator("#doppelkey-autofill").waitFor({ state: "attached" });
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    await signedIn();
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
    assert.match(await refused(), /No passkey was used/);
  });

  await t.test("a cloned passkey is noticed", async () => {
    const original = await ours.plug();
    await signUp("cloned@example.com");
    const stale = await original.passkeys();
    await signIn(); // the signature counter is one ahead of the copy's now
    const fresh = await original.passkeys();
    await (await ours.plug()).add(stale);
    assert.match(await refused(), /could not log you in/);
    await (await ours.plug()).add(fresh);
    await signIn();
  });

  await t.test("a synced passkey signs in from the other device", async () => {
    const { phone, laptop } = await ours.synced();
    await ours.plug(...phone);
    await signUp("synced@example.com");
    await (await ours.plug(...laptop)).waitForPasskeys(1);
    await signIn();
  });
});
