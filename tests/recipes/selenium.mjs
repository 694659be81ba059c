// Selenium (JavaScript): `npm install selenium-webdriver`, then `node selenium.mjs`.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Builder, By, until } from "selenium-webdriver";
import chrome from "selenium-webdriver/chrome.js";
import { authenticator, start } from "./doppelkey.mjs";

test("sign up, autofill, a user who cancels", async (t) => {
  const key = await authenticator();
  t.after(key.stop);
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
  const arrived = () => driver.wait(until.urlContains("/account"), 20_000);

  await driver.get(`${site.url}/signup`);
  await driver.findElement(By.name("email")).sendKeys("mona@example.com");
  await click("button[type=submit]");
  await click("[data-ceremony=create]");
  await arrived();
  await click("form[action='/logout'] button");

  await driver.get(`${site.url}/login`);
  await driver.executeScript("document.activeElement.blur(); document.querySelector('[autocomplete~=webauthn]').focus()");
  await click("#doppelkey-autofill [role=option]");
  await arrived();
  await click("form[action='/logout'] button");

  await key.habits({ manner: "deny" });
  await driver.get(`${site.url}/login`);
  await click("[data-ceremony=get]");
  const error = await driver.findElement(By.id("error"));
  await driver.wait(until.elementIsVisible(error), 20_000);
  assert.match(await error.getText(), /No passkey was used/);
});
