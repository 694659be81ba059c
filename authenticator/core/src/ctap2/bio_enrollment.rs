//! authenticatorBioEnrollment (CTAP §6.7), with a simulated fingerprint sensor.

use core::time::Duration;

use heapless::String;
use rand_core::CryptoRng;

use crate::authenticator::{Authenticator, Message, Reply};
use crate::cbor::{Item, Map, Writer};
use crate::configuration::OptionId;
use crate::ctap2::Command;
use crate::fingerprint::{Enrolment, FINGERPRINTS_MAX, FRIENDLY_NAME_MAX, Fingerprints, TEMPLATE_ID};
use crate::pending::Pending;
use crate::pin::Permissions;
use crate::status::{Status, Step};
use crate::store::CredentialStore;
use crate::time::Time;

/// A fingerprint sample that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SampleRequest {
    enrolment: Enrolment,
    /// enrollBegin, whose response tells the template id.
    first: bool,
    /// How long the platform wants to wait, where it says so.
    pub(crate) timeout: Option<Duration>,
}

impl<S: CredentialStore, R: CryptoRng> Authenticator<S, R> {
    /// authenticatorBioEnrollment, and its prototype where that is offered.
    #[inline(never)]
    pub(crate) fn bio_enrollment(
        &mut self,
        now: Time,
        command: Command,
        parameters: Map<'_>,
        response: &mut Message,
    ) -> Step<Reply> {
        self.must_offer(match command {
            Command::BioEnrollmentPreview => OptionId::UserVerificationMgmtPreview,
            _ => OptionId::BioEnroll,
        })?;
        if parameters.get(GET_MODALITY).map_or(Ok(false), |get| get.boolean())? {
            return get_modality(response);
        }
        let modality = parameters.required(MODALITY)?.unsigned()?;
        if modality != u64::from(FINGERPRINT) {
            return Err(Status::InvalidParameter);
        }
        let subcommand = parameters.required(SUBCOMMAND)?.byte()?;
        match subcommand {
            ENROLL_BEGIN => self.enroll_begin(now, parameters),
            ENROLL_CAPTURE_NEXT_SAMPLE => self.enroll_capture_next_sample(now, parameters),
            CANCEL_CURRENT_ENROLLMENT => {
                self.enrolment = None;
                Ok(Reply::Done)
            }
            ENUMERATE_ENROLLMENTS => self.enumerate_enrollments(now, parameters, response),
            SET_FRIENDLY_NAME => self.set_friendly_name(now, parameters),
            REMOVE_ENROLLMENT => self.remove_enrollment(now, parameters),
            GET_FINGERPRINT_SENSOR_INFO => self.get_fingerprint_sensor_info(response),
            _ => Err(Status::InvalidSubcommand),
        }
    }

    /// getFingerprintSensorInfo (§6.7.3).
    fn get_fingerprint_sensor_info(&self, response: &mut Message) -> Step<Reply> {
        let mut writer = Writer::new(response);
        writer.map(3).int(FINGERPRINT_KIND).unsigned(TOUCH_SENSOR);
        writer.int(MAX_CAPTURE_SAMPLES).unsigned(self.fingerprint_samples().into());
        writer.int(MAX_FRIENDLY_NAME).unsigned(FRIENDLY_NAME_MAX as u64);
        writer.finish()?;
        Ok(Reply::Done)
    }

    /// enrollBegin (§6.7.4), up to the first sample. An enrolment that is under way ends without a trace.
    fn enroll_begin(&mut self, now: Time, parameters: Map<'_>) -> Step<Reply> {
        self.may_enroll(now, parameters, ENROLL_BEGIN)?;
        self.enrolment = None;
        let fingerprints = Fingerprints::load(&mut self.store)?;
        let most = usize::from(self.configuration.max_fingerprints).min(FINGERPRINTS_MAX);
        if fingerprints.len() >= most {
            return Err(Status::FingerprintDatabaseFull);
        }
        let mut id = [0; TEMPLATE_ID];
        self.rng.fill_bytes(&mut id);
        let enrolment = Enrolment { id, remaining: self.fingerprint_samples() };
        let timeout = timeout(parameters)?;
        Ok(Reply::Ask(Pending::FingerprintSample(SampleRequest { enrolment, first: true, timeout })))
    }

    /// enrollCaptureNextSample (§6.7.4), up to the sample.
    fn enroll_capture_next_sample(&mut self, now: Time, parameters: Map<'_>) -> Step<Reply> {
        let id = template_id(parameters)?;
        self.may_enroll(now, parameters, ENROLL_CAPTURE_NEXT_SAMPLE)?;
        let enrolment = self.enrolment.filter(|enrolment| enrolment.id == id).ok_or(Status::InvalidOption)?;
        let timeout = timeout(parameters)?;
        Ok(Reply::Ask(Pending::FingerprintSample(SampleRequest { enrolment, first: false, timeout })))
    }

    /// A sample came, or none did in time: a good one brings the enrolment on, and the last one ends it.
    pub(crate) fn sampled(
        &mut self,
        request: SampleRequest,
        sample_status: u8,
        response: &mut Message,
    ) -> Step<Reply> {
        let mut enrolment = request.enrolment;
        if sample_status == GOOD_SAMPLE {
            enrolment.remaining = enrolment.remaining.saturating_sub(1);
        }
        self.enrolment = Some(enrolment);
        if enrolment.remaining == 0 {
            self.enrolment = None;
            let mut fingerprints = Fingerprints::load(&mut self.store)?;
            if !fingerprints.add(enrolment.id) {
                return Err(Status::FingerprintDatabaseFull);
            }
            fingerprints.save(&mut self.store)?;
        }
        let mut writer = Writer::new(response);
        writer.map(if request.first { 3 } else { 2 });
        if request.first {
            writer.int(TEMPLATE).bytes(&enrolment.id);
        }
        writer.int(LAST_SAMPLE_STATUS).unsigned(sample_status.into());
        writer.int(REMAINING_SAMPLES).unsigned(enrolment.remaining.into());
        writer.finish()?;
        Ok(Reply::Done)
    }

    /// enumerateEnrollments (§6.7.6).
    fn enumerate_enrollments(
        &mut self,
        now: Time,
        parameters: Map<'_>,
        response: &mut Message,
    ) -> Step<Reply> {
        self.may_enroll(now, parameters, ENUMERATE_ENROLLMENTS)?;
        let fingerprints = Fingerprints::load(&mut self.store)?;
        if fingerprints.is_empty() {
            return Err(Status::InvalidOption);
        }
        let mut writer = Writer::new(response);
        writer.map(1).int(TEMPLATES).array(fingerprints.len());
        for fingerprint in fingerprints.iter() {
            writer.map(2).int(SUB_TEMPLATE_ID).bytes(&fingerprint.id);
            writer.int(SUB_FRIENDLY_NAME).text(&fingerprint.name);
        }
        writer.finish()?;
        Ok(Reply::Done)
    }

    /// setFriendlyName (§6.7.7).
    fn set_friendly_name(&mut self, now: Time, parameters: Map<'_>) -> Step<Reply> {
        let id = template_id(parameters)?;
        let name = subparameters(parameters)?.required(SUB_FRIENDLY_NAME)?.text()?;
        self.may_enroll(now, parameters, SET_FRIENDLY_NAME)?;
        let name = String::try_from(name).map_err(|_| Status::InvalidLength)?;
        let mut fingerprints = Fingerprints::load(&mut self.store)?;
        fingerprints.find(id).ok_or(Status::InvalidOption)?.name = name;
        fingerprints.save(&mut self.store)?;
        Ok(Reply::Done)
    }

    /// removeEnrollment (§6.7.8).
    fn remove_enrollment(&mut self, now: Time, parameters: Map<'_>) -> Step<Reply> {
        let id = template_id(parameters)?;
        self.may_enroll(now, parameters, REMOVE_ENROLLMENT)?;
        let mut fingerprints = Fingerprints::load(&mut self.store)?;
        if !fingerprints.remove(id) {
            return Err(Status::InvalidOption);
        }
        fingerprints.save(&mut self.store)?;
        Ok(Reply::Done)
    }

    /// The checks before fingerprints are shown or changed: a token in use with be.
    fn may_enroll(&mut self, now: Time, parameters: Map<'_>, subcommand: u8) -> Step {
        let (protocol, parameter) = self.pin_uv_auth(parameters, PIN_UV_AUTH_PROTOCOL, PIN_UV_AUTH_PARAM)?;
        let raw = parameters.get(SUBCOMMAND_PARAMETERS).map_or(&[][..], Item::raw);
        let message = [&[FINGERPRINT, subcommand][..], raw];
        self.pin.verify(now, protocol, &message, parameter, Permissions::BIO_ENROLLMENT)
    }

    /// How many good samples an enrolment takes.
    fn fingerprint_samples(&self) -> u8 {
        self.configuration.fingerprint_samples.max(1)
    }
}

/// getModality (§6.7.2).
fn get_modality(response: &mut Message) -> Step<Reply> {
    let mut writer = Writer::new(response);
    writer.map(1).int(MODALITY).unsigned(FINGERPRINT.into());
    writer.finish()?;
    Ok(Reply::Done)
}

fn subparameters(parameters: Map<'_>) -> Step<Map<'_>> {
    parameters.required(SUBCOMMAND_PARAMETERS)?.map()
}

fn template_id(parameters: Map<'_>) -> Step<&[u8]> {
    subparameters(parameters)?.required(SUB_TEMPLATE_ID)?.bytes()
}

/// timeoutMilliseconds; enrollBegin need not have parameters at all.
fn timeout(parameters: Map<'_>) -> Step<Option<Duration>> {
    let Some(subparameters) = parameters.get(SUBCOMMAND_PARAMETERS) else { return Ok(None) };
    let timeout = subparameters.map()?.get(SUB_TIMEOUT_MS).map(|timeout| timeout.unsigned()).transpose()?;
    Ok(timeout.map(|timeout| Duration::from_millis(timeout).min(TIMEOUT_MAX)))
}

/// The longest wait for a sample that a platform can ask for.
const TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// lastEnrollSampleStatus of a good sample.
pub(crate) const GOOD_SAMPLE: u8 = 0x00;
/// lastEnrollSampleStatus when no finger came.
pub(crate) const NO_USER_ACTIVITY: u8 = 0x0D;

/// The modality; also part of what is authenticated.
const FINGERPRINT: u8 = 1;
/// fingerprintKind of a sensor that is touched, not swiped.
const TOUCH_SENSOR: u64 = 1;

// Parameters.
const MODALITY: i32 = 1;
const SUBCOMMAND: i32 = 2;
const SUBCOMMAND_PARAMETERS: i32 = 3;
const PIN_UV_AUTH_PROTOCOL: i32 = 4;
const PIN_UV_AUTH_PARAM: i32 = 5;
const GET_MODALITY: i32 = 6;
const SUB_TEMPLATE_ID: i32 = 1;
const SUB_FRIENDLY_NAME: i32 = 2;
const SUB_TIMEOUT_MS: i32 = 3;

// Subcommands.
const ENROLL_BEGIN: u8 = 1;
const ENROLL_CAPTURE_NEXT_SAMPLE: u8 = 2;
const CANCEL_CURRENT_ENROLLMENT: u8 = 3;
const ENUMERATE_ENROLLMENTS: u8 = 4;
const SET_FRIENDLY_NAME: u8 = 5;
const REMOVE_ENROLLMENT: u8 = 6;
const GET_FINGERPRINT_SENSOR_INFO: u8 = 7;

// Members of the response; the modality's key is that of the parameter.
const FINGERPRINT_KIND: i32 = 2;
const MAX_CAPTURE_SAMPLES: i32 = 3;
const TEMPLATE: i32 = 4;
const LAST_SAMPLE_STATUS: i32 = 5;
const REMAINING_SAMPLES: i32 = 6;
const TEMPLATES: i32 = 7;
const MAX_FRIENDLY_NAME: i32 = 8;
