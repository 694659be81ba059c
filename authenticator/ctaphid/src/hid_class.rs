//! The USB side: one HID interface with an interrupt endpoint in each direction (§11.2.8).

use usb_device::Result;
use usb_device::bus::{InterfaceNumber, UsbBus, UsbBusAllocator};
use usb_device::class::{ControlIn, ControlOut, UsbClass};
use usb_device::control::{Recipient, RequestType};
use usb_device::descriptor::DescriptorWriter;
use usb_device::endpoint::{EndpointIn, EndpointOut};

use crate::packet::{PACKET_SIZE, Packet};

/// Usage page 0xF1D0 (FIDO alliance), usage 1 (authenticator): 64-byte reports in and out, no report numbers.
pub const REPORT_DESCRIPTOR: [u8; 34] = [
    0x06, 0xd0, 0xf1, // usage page: FIDO alliance
    0x09, 0x01, // usage: authenticator
    0xa1, 0x01, // collection: application
    0x09, 0x20, // usage: data in
    0x15, 0x00, 0x26, 0xff, 0x00, // logical values 0 to 255
    0x75, 0x08, 0x95, 0x40, // 64 of 8 bits
    0x81, 0x02, // input: data, variable, absolute
    0x09, 0x21, // usage: data out
    0x15, 0x00, 0x26, 0xff, 0x00, // logical values 0 to 255
    0x75, 0x08, 0x95, 0x40, // 64 of 8 bits
    0x91, 0x02, // output: data, variable, absolute
    0xc0, // end of collection
];

/// A pipe of packets over any `usb_device` bus. Knows nothing of what is in them.
///
/// After each `UsbDevice::poll`: [`read`](Self::read) packets for the state machine while it is ready, and
/// [`write`](Self::write) its packets while they are taken.
pub struct HidClass<'a, B: UsbBus> {
    interface: InterfaceNumber,
    ep_out: EndpointOut<'a, B>,
    ep_in: EndpointIn<'a, B>,
    idle_rate: u8,
}

impl<'a, B: UsbBus> HidClass<'a, B> {
    /// Allocates the interface and its two endpoints.
    ///
    /// # Panics
    /// If the bus has no endpoints left: a mistake of the composition.
    pub fn new(bus: &'a UsbBusAllocator<B>) -> Self {
        HidClass {
            interface: bus.interface(),
            ep_out: bus.interrupt(PACKET_SIZE as u16, INTERVAL_MS),
            ep_in: bus.interrupt(PACKET_SIZE as u16, INTERVAL_MS),
            idle_rate: 0,
        }
    }

    /// The packet that the platform sent, if there is one. A report of another size is dropped.
    pub fn read(&mut self) -> Option<Packet> {
        let mut packet = [0; PACKET_SIZE];
        match self.ep_out.read(&mut packet) {
            Ok(PACKET_SIZE) => Some(packet),
            _ => None,
        }
    }

    /// Sends a packet. `false` if the endpoint still holds an earlier one: keep it, and try after the next poll.
    pub fn write(&mut self, packet: &Packet) -> bool {
        self.ep_in.write(packet).is_ok()
    }

    fn is_for_us(&self, recipient: Recipient, index: u16) -> bool {
        recipient == Recipient::Interface && index == u16::from(u8::from(self.interface))
    }
}

impl<B: UsbBus> UsbClass<B> for HidClass<'_, B> {
    fn get_configuration_descriptors(&self, writer: &mut DescriptorWriter<'_>) -> Result<()> {
        writer.interface(self.interface, HID, NO_SUBCLASS, NO_PROTOCOL)?;
        writer.write(HID_DESCRIPTOR_TYPE, &HID_DESCRIPTOR[2..])?;
        writer.endpoint(&self.ep_out)?;
        writer.endpoint(&self.ep_in)
    }

    fn reset(&mut self) {
        self.idle_rate = 0;
    }

    fn control_in(&mut self, transfer: ControlIn<'_, '_, '_, B>) {
        let request = *transfer.request();
        if !self.is_for_us(request.recipient, request.index) {
            return;
        }
        let (kind, number) = request.descriptor_type_index();
        // An error here means that the control pipe moved on: the platform gave the transfer up.
        let _ = match (request.request_type, request.request) {
            (RequestType::Standard, GET_DESCRIPTOR) => match (kind, number) {
                (REPORT_DESCRIPTOR_TYPE, 0) => transfer.accept_with_static(&REPORT_DESCRIPTOR),
                (HID_DESCRIPTOR_TYPE, 0) => transfer.accept_with_static(&HID_DESCRIPTOR),
                _ => transfer.reject(),
            },
            (RequestType::Class, GET_IDLE) => transfer.accept_with(&[self.idle_rate]),
            // GET_REPORT: a report is an event here, not a state. GET_PROTOCOL: for boot devices only.
            (RequestType::Class, _) => transfer.reject(),
            _ => Ok(()),
        };
    }

    fn control_out(&mut self, transfer: ControlOut<'_, '_, '_, B>) {
        let request = *transfer.request();
        if !self.is_for_us(request.recipient, request.index) || request.request_type != RequestType::Class {
            return;
        }
        let _ = match request.request {
            SET_IDLE => {
                self.idle_rate = (request.value >> 8) as u8;
                transfer.accept()
            }
            // SET_REPORT: reports go through the interrupt endpoint. SET_PROTOCOL: for boot devices only.
            _ => transfer.reject(),
        };
    }
}

/// HID 1.11, country 0, one descriptor of its own: the report descriptor.
const HID_DESCRIPTOR: [u8; 9] =
    [9, HID_DESCRIPTOR_TYPE, 0x11, 0x01, 0, 1, REPORT_DESCRIPTOR_TYPE, REPORT_DESCRIPTOR.len() as u8, 0];
const HID_DESCRIPTOR_TYPE: u8 = 0x21;
const REPORT_DESCRIPTOR_TYPE: u8 = 0x22;
const HID: u8 = 3;
const NO_SUBCLASS: u8 = 0;
const NO_PROTOCOL: u8 = 0;
const INTERVAL_MS: u8 = 2;
const GET_DESCRIPTOR: u8 = 6;
const GET_IDLE: u8 = 0x02;
const SET_IDLE: u8 = 0x0a;
