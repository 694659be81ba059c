// A fresh authenticator for a JavaScript test: in memory, without USB, with the browser extension that leads to it.
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

const program = process.env.DOPPELKEY ?? "doppelkey";

/** Starts a subcommand that prints one line of JSON once it is ready; gives that line and a way to end it. */
export async function start(...args) {
  const child = spawn(program, [...args, "--json"], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await firstLine(child, args[0]);
  const stop = async () => {
    if (child.exitCode === null && child.kill()) await once(child, "exit");
  };
  return { ...JSON.parse(line), stop };
}

/** The first line that a child prints; if it ends before, the reason is on standard error. */
function firstLine(child, name) {
  const ended = once(child, "exit").then(() => {
    throw new Error(`doppelkey ${name} ended before it was ready: see standard error`);
  });
  ended.catch(() => {}); // later, that is how it ends
  return Promise.race([once(createInterface(child.stdout), "line"), ended]);
}

/** What one browser uses: authenticators, one after the other, behind the same extension. */
export async function hand() {
  const folder = await mkdtemp(join(tmpdir(), "doppelkey-"));
  let plugged;
  return {
    /** Plugs an authenticator in, in place of the one before; in memory, or with these options of a vault. */
    plug: async (...vault) => {
      await plugged?.stop();
      plugged = await authenticator(folder, ...(vault.length ? vault : ["--ephemeral"]));
      return plugged;
    },
    /** Two vaults that share their passkeys, a phone's and a laptop's: what `plug` takes. */
    synced: async () => {
      const vault = (name) => ["--vault", join(folder, name), "--custody", `file:${join(folder, name)}.key`];
      const sync = (...args) => promisify(execFile)(program, ["sync", ...args]);
      const [phone, laptop] = [vault("phone"), vault("laptop")];
      await sync("init", ...phone, "--name", "phone", "--mailbox", `folder:${join(folder, "mailbox")}`);
      const inviting = spawn(program, ["sync", "invite", ...phone, "--yes", "--no-qr"], { stdio: ["ignore", "pipe", "inherit"] });
      const ended = once(inviting, "exit");
      const [invitation] = await firstLine(inviting, "sync invite");
      await sync("join", ...laptop, "--name", "laptop", invitation);
      await ended;
      return { phone, laptop };
    },
    drop: async () => {
      await plugged?.stop();
      await rm(folder, { recursive: true });
    },
  };
}

/** An authenticator whose user approves everything, until told otherwise. `chromium` is the extension's folder. */
async function authenticator(folder, ...vault) {
  const doors = ["--usbip", "off", "--bridge", "127.0.0.1:0", "--extensions", join(folder, "extensions")];
  const running = await start("run", ...vault, "--user", "auto", ...doors);
  const control = async (method, path, body) => {
    const answer = await fetch(`${running.control}/v1/devices/1${path}`, {
      method,
      headers: { authorization: `Bearer ${running.token}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  };
  const passkeys = async () => (await control("GET", "/credentials?with_keys=true")).credentials;
  return {
    ...running,
    /** How the user is from now on: `{ manner: "auto" | "deny" | "control", verified: true }`. */
    habits: (habits) => control("PATCH", "/user", habits),
    /** What the user does at the next prompt: "press", "deny", "fail-verification", … */
    deed: (deed) => control("POST", `/user/${deed}`, {}),
    /** The passkeys, with their private keys: what `add` takes. */
    passkeys,
    /** Puts copies of passkeys into this authenticator. */
    add: async (copies) => {
      for (const copy of copies) await control("POST", "/credentials", copy);
    },
    /** Waits until so many passkeys are here: sync takes a moment. */
    waitForPasskeys: async (count, seconds = 30) => {
      for (const deadline = Date.now() + seconds * 1000; (await passkeys()).length < count; ) {
        if (Date.now() > deadline) throw new Error(`${count} passkeys did not come within ${seconds} s`);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    },
  };
}
