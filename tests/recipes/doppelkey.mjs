// A fresh authenticator for a JavaScript test: in memory, without USB, with the browser extension that leads to it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const program = process.env.DOPPELKEY ?? "doppelkey";

/** Starts a subcommand that prints one line of JSON once it is ready; gives that line and a way to end it. */
export async function start(...args) {
  const child = spawn(program, [...args, "--json"], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await once(createInterface(child.stdout), "line");
  const stop = async () => {
    if (child.exitCode === null && child.kill()) await once(child, "exit");
  };
  return { ...JSON.parse(line), stop };
}

/** An authenticator whose user approves everything, until told otherwise. `chromium` is the extension's folder. */
export async function authenticator(...args) {
  const extensions = await mkdtemp(join(tmpdir(), "doppelkey-"));
  const running = await start("run", "--ephemeral", "--user", "auto", "--usbip", "off", "--bridge", "127.0.0.1:0", "--extensions", extensions, ...args);
  const user = async (method, path, body) => {
    const answer = await fetch(`${running.control}/v1/devices/1/user${path}`, {
      method,
      headers: { authorization: `Bearer ${running.token}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  };
  return {
    ...running,
    /** How the user is from now on: `{ manner: "auto" | "deny" | "control", verified: true }`. */
    habits: (habits) => user("PATCH", "", habits),
    /** What the user does at the next prompt: "press", "deny", "fail-verification", … */
    deed: (deed) => user("POST", `/${deed}`, {}),
    stop: async () => {
      await running.stop();
      await rm(extensions, { recursive: true });
    },
  };
}
