// One registration on standard input, judged by SimpleWebAuthn; it trusts the roots of the case and no others.
import { readFileSync } from "node:fs";
import { SettingsService, verifyRegistrationResponse } from "@simplewebauthn/server";

const { response, challenge, format, roots } = JSON.parse(readFileSync(0, "utf8"));
for (const identifier of ["android-key", "apple", "fido-u2f", "packed", "tpm"]) {
  SettingsService.setRootCertificates({ identifier, certificates: identifier === format ? roots : [] });
}
const { verified } = await verifyRegistrationResponse({
  response,
  expectedChallenge: challenge,
  expectedOrigin: "https://example.com",
  expectedRPID: "example.com",
  requireUserVerification: false,
});
console.log(verified ? "verified" : "refused");
