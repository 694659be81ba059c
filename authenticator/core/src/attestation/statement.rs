//! Attestation statements in CBOR.

use super::Attestation;
use crate::cbor::Writer;
use crate::faults::Faults;
use crate::key::PrivateKey;
use crate::status::{Status, Step};

/// What is attested.
pub(crate) struct Attested<'a> {
    /// The authenticator data followed by the hash of the client data: what is signed.
    pub(crate) signed: &'a [u8],
    pub(crate) key: &'a PrivateKey,
    #[cfg_attr(not(feature = "alloc"), expect(dead_code, reason = "only the host's formats look at it"))]
    pub(crate) credential_id: &'a [u8],
    pub(crate) faults: &'a Faults,
}

impl Attestation {
    /// Writes `attStmt`.
    ///
    /// # Errors
    /// [`Status::Other`] if the host's attester cannot attest this credential.
    pub(crate) fn write(&self, attested: &Attested<'_>, out: &mut Writer<'_>) -> Step {
        match self {
            Attestation::None => {
                out.map(0);
            }
            Attestation::PackedSelf => {
                let signature = attested.key.sign(attested.signed).ok_or(Status::Other)?;
                let signature = attested.faults.signature(signature);
                out.map(2).text("alg").int(attested.key.algorithm().cose()).text("sig").bytes(&signature);
            }
            #[cfg(feature = "alloc")]
            Attestation::By(attester) => host::write(attester.as_ref(), attested, out)?,
        }
        Ok(())
    }
}

#[cfg(feature = "alloc")]
mod host {
    use crate::attestation::{AttestationRequest, Attester, Members, Statement};
    use crate::cbor::Writer;
    use crate::status::{Status, Step};

    use super::Attested;

    pub(super) fn write(attester: &dyn Attester, attested: &Attested<'_>, out: &mut Writer<'_>) -> Step {
        let (authenticator_data, client_data_hash) =
            attested.signed.split_last_chunk::<32>().ok_or(Status::Other)?;
        let public_key = attested.key.public_key().ok_or(Status::Other)?;
        let request = AttestationRequest {
            authenticator_data,
            client_data_hash,
            rp_id_hash: authenticator_data.first_chunk().ok_or(Status::Other)?,
            credential_id: attested.credential_id,
            public_key: &public_key,
            key: attested.key,
            fault: attested.faults.certificate(),
        };
        match attester.attest(&request).ok_or(Status::Other)? {
            Statement::Members(members) => write_members(&members, out),
            Statement::Compound(statements) => {
                out.array(statements.len());
                for (format, members) in &statements {
                    out.map(2).text("fmt").text(format).text("attStmt");
                    write_members(members, out);
                }
            }
        }
        Ok(())
    }

    fn write_members(members: &Members, out: &mut Writer<'_>) {
        let Members { alg, sig, ver, x5c, pub_area, cert_info } = members;
        let count = usize::from(alg.is_some())
            + usize::from(sig.is_some())
            + usize::from(ver.is_some())
            + usize::from(!x5c.is_empty())
            + usize::from(pub_area.is_some())
            + usize::from(cert_info.is_some());
        out.map(count);
        if let Some(alg) = alg {
            out.text("alg").int(*alg);
        }
        if let Some(sig) = sig {
            out.text("sig").bytes(sig);
        }
        if let Some(ver) = ver {
            out.text("ver").text(ver);
        }
        if !x5c.is_empty() {
            out.text("x5c").array(x5c.len());
            for certificate in x5c {
                out.bytes(certificate);
            }
        }
        if let Some(pub_area) = pub_area {
            out.text("pubArea").bytes(pub_area);
        }
        if let Some(cert_info) = cert_info {
            out.text("certInfo").bytes(cert_info);
        }
    }
}
