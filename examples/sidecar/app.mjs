// A login by one-time password, in Node.js without packages, beside a Holdfast
// node that has -app pointing here. What the application knows of a visitor is
// a session in that node; it reads and writes it over HTTP on this machine.
//
//   PORT=3000 HOLDFAST_URL=http://127.0.0.1:8080 node app.mjs

import { randomBytes, randomInt, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const node = process.env.HOLDFAST_URL ?? "http://127.0.0.1:8080"; // the one beside us
const codeLife = 5 * 60 * 1000; // ms
const codeTries = 5;
const mostForm = 4096; // bytes

// The session API of the local node. The key came from that node too, so it
// owns the session, and the answer comes out of its memory.
const address = (key) => `${node}/v1/sessions/${encodeURIComponent(key)}`;

async function load(key) {
  const answer = await fetch(address(key), { signal: AbortSignal.timeout(5000) });
  if (answer.status === 404 || answer.status === 410) return { visitor: {} };
  if (!answer.ok) throw new Error(`read a session: ${answer.status} ${await answer.text()}`);
  return { visitor: await answer.json(), version: answer.headers.get("ETag") };
}

// change loads, calls f, and saves on the condition that nobody else has saved
// in between; if somebody has, it begins anew. It is answered when a second
// node has the change (Holdfast-Ack), so the visitor may rely on what they see.
async function change(key, f) {
  for (;;) {
    const { visitor, version } = await load(key);
    const result = f(visitor);
    const answer = await fetch(`${address(key)}?ttl=30m`, {
      method: "PUT",
      headers: {
        "Content-Type": "application/json", "Holdfast-Ack": "replica",
        ...(version ? { "If-Match": version } : { "If-None-Match": "*" }),
      },
      body: JSON.stringify(visitor),
      signal: AbortSignal.timeout(5000),
    });
    await answer.arrayBuffer();
    if (answer.ok) return result;
    if (answer.status !== 412 && answer.status !== 410) throw new Error(`write a session: ${answer.status}`);
  }
}

const forget = (key) => fetch(address(key), { method: "DELETE", signal: AbortSignal.timeout(5000) });

// The requests. Each returns the visitor's next address, or the page's text.
const routes = {
  async "GET /"(request) {
    const { visitor } = await load(request.key);
    if (!loggedIn(visitor, request)) return page(request, askForm);
    const visits = await change(request.key, (v) => (v.visits = (v.visits ?? 0) + 1));
    return page(request, `<p>You are logged in as <b id="user">${escape(visitor.user)}</b>; visit <b id="visits">${visits}</b>.</p>
      <form method="post" action="/logout"><button>Log out</button></form>`);
  },
  async "GET /login"(request) {
    return page(request, digitsForm);
  },
  async "POST /code"(request) {
    const to = request.form.get("to") ?? "";
    if (!/^[^\s@<>{}]{1,50}@[^\s@<>{}]{1,50}$/.test(to)) return page(request, askForm, "That is not a mail address.");
    const digits = String(randomInt(1_000_000)).padStart(6, "0");
    await change(request.key, (v) => (v.code = { digits, to, until: Date.now() + codeLife, tries: 0 }));
    console.log(`mail to ${to}: your code is ${digits}`);
    return { location: "/login" };
  },
  async "POST /login"(request) {
    const proof = randomBytes(16).toString("hex");
    const wrong = await change(request.key, (v) => enter(v, request.form.get("digits") ?? "", proof));
    if (wrong) return page(request, digitsForm, wrong);
    // The id that pins the visitor is older than the login; whoever may have
    // planted it in the browser does not have this.
    return { location: "/", cookie: `proof=${proof}; Path=/; HttpOnly; SameSite=Lax` };
  },
  async "POST /logout"(request) {
    const answer = await forget(request.key);
    if (!answer.ok) throw new Error(`end a session: ${answer.status}`);
    return { location: "/" };
  },
};

// enter logs in if the digits are right, and says what is wrong if not.
function enter(visitor, digits, proof) {
  const { code } = visitor;
  if (!code || Date.now() > code.until) return "No code is waiting for you: ask for a new one.";
  if (code.tries >= codeTries) return "There were too many wrong tries: ask for a new code.";
  if (!same(digits, code.digits)) {
    code.tries++;
    return "That is not the code.";
  }
  delete visitor.code;
  Object.assign(visitor, { user: code.to, proof, visits: 0 });
}

const loggedIn = (visitor, request) => Boolean(visitor.user) && same(request.proof, visitor.proof);

const same = (a, b) => a.length === b.length && timingSafeEqual(Buffer.from(a.padEnd(64)), Buffer.from(b.padEnd(64)));

const escape = (text) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

const askForm = `<form method="post" action="/code"><label>Mail address <input name="to" type="email" value="alice@example.org"></label> <button>Mail me a code</button></form>`;
const digitsForm = `<p>The code is in the output of <code>run</code>.</p>
<form method="post" action="/login"><label>Six digits <input name="digits" inputmode="numeric" maxlength="6"></label> <button>Log in</button></form>`;

function page(request, body, problem) {
  return { status: problem ? 422 : 200, text: `<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>One-time password</title><link rel="icon" href="data:,">
<h1>Log in with a code</h1>${problem ? `<p id="problem" role="alert">${problem}</p>` : ""}
${body}
<p>Answered beside <b id="server">${escape(request.node)}</b>.</p></html>` };
}

async function readForm(incoming) {
  let text = "";
  for await (const chunk of incoming) {
    text += chunk;
    if (text.length > mostForm) throw new Error(`a form of more than ${mostForm} bytes`);
  }
  return new URLSearchParams(text);
}

const server = createServer(async (incoming, outgoing) => {
  outgoing.setHeader("Cache-Control", "no-store");
  outgoing.setHeader("Content-Security-Policy", "default-src 'none'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'");
  try {
    const handle = routes[`${incoming.method} ${incoming.url.split("?")[0]}`];
    if (!handle) return void outgoing.writeHead(404).end("not found\n");
    const key = incoming.headers["holdfast-key"]; // who it is, says the node
    if (!key) return void outgoing.writeHead(400).end("this application is asked by its node, which says for whom\n");
    const origin = incoming.headers["sec-fetch-site"] ?? "same-origin"; // browsers send it, and no page can forge it
    const foreign = origin !== "same-origin" && origin !== "none";
    if (incoming.method === "POST" && foreign) return void outgoing.writeHead(403).end("forms of other sites are not accepted\n");
    const answer = await handle({
      key,
      node: incoming.headers["holdfast-node"],
      proof: /(?:^|; )proof=([0-9a-f]{32})(?:;|$)/.exec(incoming.headers.cookie ?? "")?.[1] ?? "",
      form: incoming.method === "POST" ? await readForm(incoming) : undefined,
    });
    if (answer.cookie) outgoing.setHeader("Set-Cookie", answer.cookie);
    if (answer.location) return void outgoing.writeHead(303, { Location: answer.location }).end();
    outgoing.writeHead(answer.status, { "Content-Type": "text/html; charset=utf-8" }).end(answer.text);
  } catch (error) {
    console.error(`${incoming.method} ${incoming.url}: ${error.message}`);
    outgoing.writeHead(503, { "Retry-After": "1" }).end("come again in a moment\n");
  }
});

server.listen(Number(process.env.PORT ?? 3000), "127.0.0.1");
