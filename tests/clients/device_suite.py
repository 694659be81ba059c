"""What python-fido2's own device tests need to run unattended: a plugin for pytest, loaded with `-p device_suite`.

The suite looks for HID devices, presses and replugs them through a button controller, and asks a person for
fingerprints. This plugin lets it find the devices of a USB/IP server instead of the kernel's, and gives the finger
when the suite says so. Everything else is the suite's own, unmodified.

`DEVICE_SUITE_USBIP` is the server's address, `DEVICE_SUITE_CONTROL` the control port's URL with its token.
"""

import os
import sys
import urllib.request

import fido2.hid
from fido2.hid import CtapHidDevice
from fido2.hid.base import HidDescriptor

import usbip

ADDRESS = os.environ["DEVICE_SUITE_USBIP"]
CONTROL = os.environ["DEVICE_SUITE_CONTROL"]


def list_descriptors():
    return [
        HidDescriptor(f"{ADDRESS}/{device['busid']}", device["vid"], device["pid"], 64, 64, None, None)
        for device in usbip.devices(ADDRESS)
    ]


def open_connection(descriptor):
    return usbip.UsbIpConnection(ADDRESS, str(descriptor.path).rsplit("/", 1)[1])


def open_device(path):
    descriptor = next(found for found in list_descriptors() if found.path == path)
    return CtapHidDevice(descriptor, open_connection(descriptor))


# Before the suite's conftest takes them from the module.
fido2.hid.list_descriptors = list_descriptors
fido2.hid.open_connection = open_connection
fido2.hid.open_device = open_device


def give_finger():
    """One good sample, for the prompt that is shown or the next one."""
    request = urllib.request.Request(f"{CONTROL}/v1/devices/1/user/fingerprint", method="POST", data=b"")
    with urllib.request.urlopen(request, timeout=10):
        pass


def pytest_collection_finish(session):
    """The suite tells a person to give a finger by printing it: there is no button for that."""
    package = sys.modules[session.items[0].module.__package__]
    printed = package.PicoController.print

    def print_and_do(self, *messages):
        printed(self, *messages)
        if any("Press your fingerprint" in str(message) for message in messages):
            give_finger()

    package.PicoController.print = print_and_do
