// Selenium (JavaScript): `npm install selenium-webdriver`, then `node selenium.mjs`.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Builder, By, Key, until } from "selenium-webdriver";
import chrome from "selenium-webdriver/chrome.js";
import { hand, start } from "./doppelkey.mjs";

test("sign up, autofill, a user who cancels; a cloned and a synced passkey", async (t) => {
  const ours = await hand();
  t.after(ours.drop);
  const key = await ours.plug();
  const site = await start("relying-party", "--db", "memory", "--listen", "127.0.0.1:0");
  t.after(site.stop);
  const options = new chrome.Options();
  options.setChromeBinaryPath(process.env.CHROMIUM ?? "/usr/bin/chromium");
  options.addArguments("--headless=new", "--no-sandbox", `--load-extension=${key.chromium}`);
  const service = new chrome.ServiceBuilder(process.env.CHROMEDRIVER ?? "/usr/bin/chromedriver");
  const driver = await new Builder().forBrowser("chrome").setChromeOptions(options).setChromeService(service).build();
  t.after(() => driver.quit());
  // Again, if the page drew the element anew between finding and clicking it.
  const click = (selector) =>
    driver.wait(async () => {
      try {
        await driver.findElement(By.css(selector)).click();
        return true;
      } catch (error) {
        if (/NoSuchElement|StaleElement|NotInteractable/.test(error.name)) return false;
        throw error;
      }
    }, 20_000);
  const signUp = async (email) => {
    await driver.get(`${site.url}/signup`);
    await driver.findElement(By.name("email")).sendKeys(email);
    await click("button[type=submit]");
    await click("[data-ceremony=create]");
    await signedIn();
  };
  const signIn = async () => {
    await driver.get(`${site.url}/login`);
    await click("[data-ceremony=get]");
    await signedIn();
  };
  const signedIn = async () => {
    await driver.wait(until.urlContains("/account"), 20_000);
    await click("form[action='/logout'] button");
  };
  const refused = async () => {
    await driver.get(`${site.url}/login`);
    await click("[data-ceremony=get]");
    const error = await driver.findElement(By.id("error"));
    await driver.wait(until.elementIsVisible(error), 20_000);
    return error.getText();
  };

  await t.test("sign up, autofill", async () => {
    await signUp("mona@example.com");
    await driver.get(`${site.url}/login`);
    await driver.executeScript("document.activeElement.blur(); document.querySelector('[autocomplete~=webauthn]').focus()");
    // The names are the user's to see, not the page's: picked by the keyboard, once the list is there.
    await driver.wait(until.elementLocated(By.id("doppelkey-autofill")), 20_000);
    await driver.switchTo().activeElement().sendKeys(Key.ARROW_DOWN, Key.ENTER);
    await signedIn();
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
