//! What a device is called where it is plugged in.

/// What a device says of itself on USB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// idVendor.
    pub vendor: u16,
    /// idProduct.
    pub product: u16,
    /// bcdDevice, the device's release in binary-coded decimal.
    pub release: u16,
    /// iManufacturer.
    pub manufacturer: String,
    /// iProduct.
    pub name: String,
    /// iSerialNumber.
    pub serial: String,
}

impl Default for Identity {
    /// Doppelkey, under a product id that pid.codes keeps for devices that are not sold.
    fn default() -> Self {
        Identity {
            vendor: 0x1209,
            product: 0x0001,
            release: 0x0010,
            manufacturer: "Doppelkey".into(),
            name: "Doppelkey FIDO2 authenticator".into(),
            serial: "1".into(),
        }
    }
}
