"""Playwright (Python): `pip install playwright pytest`."""

import os

import pytest
from playwright.sync_api import sync_playwright


@pytest.fixture
def open_page():
    """Opens a page of a browser with an authenticator's extension."""
    with sync_playwright() as playwright:
        browsers = []

        def open_page(authenticator):
            extension = authenticator.ready["chromium"]
            browsers.append(
                playwright.chromium.launch_persistent_context(
                    "",
                    executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
                    headless=False,  # extensions need the new headless mode, which is an argument
                    args=["--headless=new", "--no-sandbox", f"--load-extension={extension}", f"--disable-extensions-except={extension}"],
                    ignore_default_args=["--disable-extensions"],
                )
            )
            return browsers[-1].new_page()

        yield open_page
        for browser in browsers:
            browser.close()


def sign_up(page, site, email):
    page.goto(f"{site}/signup")
    page.fill("[name=email]", email)
    page.click("button[type=submit]")
    page.click("[data-ceremony=create]")
    page.wait_for_url("**/account")
    page.click("form[action='/logout'] button")


def sign_in(page, site):
    page.goto(f"{site}/login")
    page.click("[data-ceremony=get]")
    page.wait_for_url("**/account")
    page.click("form[action='/logout'] button")


def refused(page, site):
    page.goto(f"{site}/login")
    page.click("[data-ceremony=get]")
    page.locator("#error").wait_for(state="visible")
    return page.locator("#error").inner_text()


def test_sign_up_autofill_and_a_user_who_cancels(open_page, authenticator, site):
    page = open_page(authenticator)
    sign_up(page, site, "playwright@example.com")

    page.goto(f"{site}/login")
    page.locator("[autocomplete~=webauthn]").blur()
    page.locator("[autocomplete~=webauthn]").focus()
    # The names are the user's to see, not the page's: picked by the keyboard, once the list is there.
    page.locator("#doppelkey-autofill").wait_for(state="attached")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/account")
    page.click("form[action='/logout'] button")

    authenticator.user("PATCH", body={"manner": "deny"})
    assert "No passkey was used" in refused(page, site)


def test_a_cloned_passkey_is_noticed(open_page, plug, site):
    original = plug()
    page = open_page(original)
    sign_up(page, site, "cloned@example.com")
    stale = original.passkeys()
    sign_in(page, site)  # the signature counter is one ahead of the copy's now
    fresh = original.passkeys()
    plug().add(stale)
    assert "could not log you in" in refused(page, site)
    plug().add(fresh)
    sign_in(page, site)


def test_a_synced_passkey_signs_in_from_the_other_device(open_page, plug, synced, site):
    phone, laptop = synced
    page = open_page(plug(*phone))
    sign_up(page, site, "synced@example.com")
    plug(*laptop).wait_for_passkeys(1)
    sign_in(page, site)
