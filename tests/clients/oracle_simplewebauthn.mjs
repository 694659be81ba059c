// SimpleWebAuthn's verdicts on the cases on standard input, one JSON object a line.
//
// A case that asks for what the library has no parameter for gets no verdict: the library has no opinion on it.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';

// Node 18 keeps it in a module
globalThis.crypto ??= (await import('node:crypto')).webcrypto;

const require = createRequire(process.env.DOPPELKEY_NODE_MODULES + '/');
const library = await import(require.resolve('@simplewebauthn/server'));

const vectors = JSON.parse(readFileSync(new URL('../vectors/webauthn-l3-vectors.json', import.meta.url)));
const root = Buffer.from(vectors.attestation_root.attestation_ca_cert, 'hex').toString('base64');
const pem = `-----BEGIN CERTIFICATE-----\n${root.match(/.{1,64}/g).join('\n')}\n-----END CERTIFICATE-----\n`;
for (const identifier of ['android-key', 'apple', 'fido-u2f', 'packed', 'tpm']) {
  library.SettingsService.setRootCertificates({ identifier, certificates: [pem] });
}

async function registration(testCase, policy) {
  if (policy.attestation) return null;
  const { verified } = await library.verifyRegistrationResponse({
    response: testCase.credential,
    expectedChallenge: testCase.challenge,
    expectedOrigin: policy.origins,
    expectedRPID: policy.rp_id,
    requireUserPresence: policy.mediation !== 'conditional',
    requireUserVerification: policy.user_verification === 'required',
    supportedAlgorithmIDs: policy.algs ?? [-7, -8, -257, -35, -36, -53, -47, -37],
  });
  return verified;
}

async function authentication(testCase, policy) {
  const record = testCase.record;
  if (record === null || policy.allow_credentials?.length || policy.identified_user || policy.counter === 'flag') {
    return null;
  }
  const { verified } = await library.verifyAuthenticationResponse({
    response: testCase.credential,
    expectedChallenge: testCase.challenge,
    expectedOrigin: policy.origins,
    expectedRPID: policy.rp_id,
    credential: {
      id: record.id,
      publicKey: new Uint8Array(Buffer.from(record.public_key_cose, 'base64url')),
      counter: record.sign_count,
    },
    requireUserVerification: policy.user_verification === 'required',
    ...(policy.cross_origin && { expectedTopOrigin: policy.top_origins }),
  });
  return verified;
}

for await (const line of createInterface({ input: process.stdin })) {
  const testCase = JSON.parse(line);
  const judge = testCase.ceremony === 'registration' ? registration : authentication;
  let verdict;
  let why = '';
  try {
    verdict = await judge(testCase, testCase.policy);
  } catch (error) {
    verdict = false;
    why = String(error).slice(0, 200);
  }
  if (verdict !== null) {
    console.log(JSON.stringify({ id: testCase.id, verdict: verdict ? 'accept' : 'reject', why }));
  }
}
