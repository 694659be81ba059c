"""Selenium (Python): `pip install selenium pytest`."""

import os

import pytest
from selenium import webdriver
from selenium.common.exceptions import ElementNotInteractableException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as expected
from selenium.webdriver.support.wait import WebDriverWait


@pytest.fixture
def driver(authenticator):
    options = webdriver.ChromeOptions()
    options.binary_location = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    for argument in ["--headless=new", "--no-sandbox", f"--load-extension={authenticator.ready['chromium']}"]:
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(os.environ.get("CHROMEDRIVER", "/usr/bin/chromedriver")))
    yield driver
    driver.quit()


def test_sign_up_button_and_a_user_who_cancels(driver, authenticator, site):
    wait = WebDriverWait(driver, 20)

    def click(selector):
        # Again, if the page drew the element anew between finding and clicking it.
        drawing = [StaleElementReferenceException, ElementNotInteractableException]
        again = WebDriverWait(driver, 20, ignored_exceptions=drawing)
        again.until(lambda page: page.find_element(By.CSS_SELECTOR, selector).click() is None)

    driver.get(f"{site}/signup")
    driver.find_element(By.NAME, "email").send_keys("selenium@example.com")
    click("button[type=submit]")
    click("[data-ceremony=create]")
    wait.until(expected.url_contains("/account"))
    click("form[action='/logout'] button")

    driver.get(f"{site}/login")
    click("[data-ceremony=get]")
    wait.until(expected.url_contains("/account"))
    click("form[action='/logout'] button")

    authenticator.user("PATCH", body={"manner": "deny"})
    driver.get(f"{site}/login")
    click("[data-ceremony=get]")
    error = wait.until(expected.visibility_of_element_located((By.ID, "error")))
    assert "No passkey was used" in error.text
