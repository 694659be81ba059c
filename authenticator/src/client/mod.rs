//! The platform side: WebAuthn options in JSON, to CTAP2, to the response in JSON.
