"""Selenium (Python): `pip install selenium pytest`."""

import os

import pytest
from selenium import webdriver
from selenium.common.exceptions import (
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support import expected_conditions as expected
from selenium.webdriver.support.wait import WebDriverWait


class Page:
    """A browser with an authenticator's extension, at a site."""

    def __init__(self, authenticator, site):
        options = webdriver.ChromeOptions()
        options.binary_location = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        for argument in ["--headless=new", "--no-sandbox", f"--load-extension={authenticator.ready['chromium']}"]:
            options.add_argument(argument)
        service = webdriver.ChromeService(os.environ.get("CHROMEDRIVER", "/usr/bin/chromedriver"))
        self.driver, self.site = webdriver.Chrome(options, service), site

    def click(self, selector):
        # Again, if the page drew the element anew between finding and clicking it.
        drawing = [StaleElementReferenceException, ElementNotInteractableException, NoSuchElementException]
        again = WebDriverWait(self.driver, 20, ignored_exceptions=drawing)
        again.until(lambda page: page.find_element(By.CSS_SELECTOR, selector).click() is None)

    def sign_up(self, email):
        self.driver.get(f"{self.site}/signup")
        self.driver.find_element(By.NAME, "email").send_keys(email)
        self.click("button[type=submit]")
        self.click("[data-ceremony=create]")
        self.signed_in()

    def sign_in(self):
        self.driver.get(f"{self.site}/login")
        self.click("[data-ceremony=get]")
        self.signed_in()

    def signed_in(self):
        WebDriverWait(self.driver, 20).until(expected.url_contains("/account"))
        self.click("form[action='/logout'] button")

    def refused(self):
        self.driver.get(f"{self.site}/login")
        self.click("[data-ceremony=get]")
        shown = expected.visibility_of_element_located((By.ID, "error"))
        return WebDriverWait(self.driver, 20).until(shown).text


@pytest.fixture
def open_page(site):
    pages = []

    def open_page(authenticator):
        pages.append(Page(authenticator, site))
        return pages[-1]

    yield open_page
    for page in pages:
        page.driver.quit()


def test_sign_up_autofill_and_a_user_who_cancels(open_page, authenticator, site):
    page = open_page(authenticator)
    page.sign_up("selenium@example.com")

    page.driver.get(f"{site}/login")
    page.driver.execute_script("document.activeElement.blur(); document.querySelector('[autocomplete~=webauthn]').focus()")
    # The names are the user's to see, not the page's: picked by the keyboard, once the list is there.
    WebDriverWait(page.driver, 20).until(expected.presence_of_element_located((By.ID, "doppelkey-autofill")))
    page.driver.switch_to.active_element.send_keys(Keys.ARROW_DOWN, Keys.ENTER)
    page.signed_in()

    authenticator.user("PATCH", body={"manner": "deny"})
    assert "No passkey was used" in page.refused()


def test_a_cloned_passkey_is_noticed(open_page, plug):
    original = plug()
    page = open_page(original)
    page.sign_up("selenium-cloned@example.com")
    stale = original.passkeys()
    page.sign_in()  # the signature counter is one ahead of the copy's now
    fresh = original.passkeys()
    plug().add(stale)
    assert "could not log you in" in page.refused()
    plug().add(fresh)
    page.sign_in()


def test_a_synced_passkey_signs_in_from_the_other_device(open_page, plug, synced):
    phone, laptop = synced
    page = open_page(plug(*phone))
    page.sign_up("selenium-synced@example.com")
    plug(*laptop).wait_for_passkeys(1)
    page.sign_in()
