"""Playwright (Python): `pip install playwright pytest`."""

import os

from playwright.sync_api import sync_playwright


def test_sign_up_autofill_and_a_user_who_cancels(authenticator, site):
    extension = authenticator.ready["chromium"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            "",
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
            headless=False,  # extensions need the new headless mode, which is an argument
            args=["--headless=new", "--no-sandbox", f"--load-extension={extension}", f"--disable-extensions-except={extension}"],
            ignore_default_args=["--disable-extensions"],
        )
        page = browser.new_page()
        page.goto(f"{site}/signup")
        page.fill("[name=email]", "playwright@example.com")
        page.click("button[type=submit]")
        page.click("[data-ceremony=create]")
        page.wait_for_url("**/account")
        page.click("form[action='/logout'] button")

        page.goto(f"{site}/login")
        page.locator("[autocomplete~=webauthn]").blur()
        page.locator("[autocomplete~=webauthn]").focus()
        page.click("text=playwright@example.com (passkey)")
        page.wait_for_url("**/account")
        page.click("form[action='/logout'] button")

        authenticator.user("PATCH", body={"manner": "deny"})
        page.goto(f"{site}/login")
        page.click("[data-ceremony=get]")
        page.locator("#error").wait_for(state="visible")
        assert "No passkey was used" in page.locator("#error").inner_text()
        browser.close()
