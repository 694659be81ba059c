"""A script with WebDriver's virtual authenticators, as there are many; and the same, unchanged, with Doppelkey's.

Give the script the control port in place of chromedriver: `doppelkey run … --webdriver http://127.0.0.1:9515`.
"""

import os

import pytest
from conftest import Doppelkey
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.virtual_authenticator import Protocol, Transport, VirtualAuthenticatorOptions
from selenium.webdriver.support import expected_conditions as expected
from selenium.webdriver.support.wait import WebDriverWait


def script(driver_url, site, email):
    """Knows nothing of Doppelkey."""
    options = webdriver.ChromeOptions()
    options.binary_location = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    options.add_argument("--headless=new")
    options.add_argument("--no-sandbox")
    driver = webdriver.Remote(driver_url, options=options)
    try:
        wait = WebDriverWait(driver, 20)
        press = "const it = document.querySelector(arguments[0]); it?.click(); return Boolean(it)"
        click = lambda selector: wait.until(lambda page: page.execute_script(press, selector))
        authenticator = VirtualAuthenticatorOptions()
        authenticator.protocol = Protocol.CTAP2
        authenticator.transport = Transport.INTERNAL
        authenticator.has_resident_key = True
        authenticator.has_user_verification = True
        authenticator.is_user_verified = True
        driver.add_virtual_authenticator(authenticator)

        driver.get(f"{site}/signup")
        driver.find_element(By.NAME, "email").send_keys(email)
        click("button[type=submit]")
        click("[data-ceremony=create]")
        wait.until(expected.url_contains("/account"))
        [credential] = driver.get_credentials()
        assert credential.rp_id == "localhost" and credential.is_resident_credential
        click("form[action='/logout'] button")

        # A copy of it in a fresh authenticator signs in.
        driver.remove_virtual_authenticator()
        driver.add_virtual_authenticator(authenticator)
        driver.add_credential(credential)
        driver.get(f"{site}/login")
        # The page's own request for autofill may have signed in by now: the browser's authenticator answers it at once.
        driver.execute_script(press, "[data-ceremony=get]")
        wait.until(expected.url_contains("/account"))
        click("form[action='/logout'] button")

        driver.remove_all_credentials()
        assert driver.get_credentials() == []
    finally:
        driver.quit()


@pytest.fixture
def chromedriver():
    service = webdriver.ChromeService(os.environ.get("CHROMEDRIVER", "/usr/bin/chromedriver"))
    service.start()
    yield service.service_url
    service.stop()


def test_with_the_browsers_own_authenticator(chromedriver, site):
    script(chromedriver, site, "browsers@example.com")


def test_with_doppelkeys(chromedriver, site, tmp_path):
    doors = ["--usbip", "off", "--bridge", "127.0.0.1:0", "--extensions", str(tmp_path)]
    running = Doppelkey("run", "--ephemeral", "--user", "auto", *doors, "--webdriver", chromedriver)
    try:
        script(f"{running.ready['control']}/t/{running.ready['token']}", site, "doppelkeys@example.com")
    finally:
        running.stop()
