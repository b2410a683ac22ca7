// A small platform that has its posts judged by Deadpan. Node.js 18 or newer, and nothing else.
//
//     node examples/node/sample_platform.mjs 8080
//
// The same paths as examples/python/sample_platform.py. It keeps posts in memory, so ids that are not
// pushed when it exits are lost: see there for an outbox.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { connect } from "node:net";

const { DEADPAN_REDIS_URL = "redis://127.0.0.1:6380/0", DEADPAN_SOURCE_TOKEN, DEADPAN_CALLBACK_SECRET } = process.env;
if (!DEADPAN_SOURCE_TOKEN || !DEADPAN_CALLBACK_SECRET) {
  console.error("set DEADPAN_SOURCE_TOKEN and DEADPAN_CALLBACK_SECRET, with the same values as for Deadpan");
  process.exit(2);
}
const LISTS = { high: "deadpan:posts:high", normal: "deadpan:posts", low: "deadpan:posts:low" };

const posts = new Map(); // id -> post
const taken = new Set(); // webhook-ids that were handled; in a real platform a unique key

// -- pushing ids --

// RPUSH over a bare socket, to show how little it takes; examples/push/push.mjs uses node-redis.
function push(list, ...ids) {
  const url = new URL(DEADPAN_REDIS_URL);
  const commands = [["RPUSH", list, ...ids.map(String)]];
  if (url.pathname.length > 1) commands.unshift(["SELECT", url.pathname.slice(1)]);
  if (url.password) {
    const user = url.username ? [decodeURIComponent(url.username)] : [];
    commands.unshift(["AUTH", ...user, decodeURIComponent(url.password)]);
  }
  const bulk = (part) => `$${Buffer.byteLength(part)}\r\n${part}\r\n`;
  const wire = commands.map((parts) => `*${parts.length}\r\n${parts.map(bulk).join("")}`).join("");
  return new Promise((resolve, reject) => {
    const socket = connect(Number(url.port || 6379), url.hostname, () => socket.write(wire));
    let answer = "";
    socket.setTimeout(10_000, () => socket.destroy(new Error("Redis does not answer")));
    socket.on("error", reject);
    socket.on("close", () => reject(new Error("Redis hung up")));
    socket.on("data", (data) => {
      answer += data;
      const lines = answer.split("\r\n").slice(0, -1); // one line for each command
      const refused = lines.find((line) => line.startsWith("-"));
      if (refused) reject(new Error(refused.slice(1)));
      else if (lines.length >= commands.length) resolve(Number(lines.at(-1).slice(1)));
      else return;
      socket.destroy();
    });
  });
}

// Until Redis accepts it: an id that was pushed twice is judged once.
async function pushUntilTaken(list, id) {
  for (;;) {
    try {
      return await push(list, id);
    } catch (error) {
      console.error(`Redis does not accept ${id}: ${error.message}`);
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}

// -- the post source --

// The answer to Deadpan for a chunk of ids. A post that is left out is gone.
function sourceAnswer(ids) {
  const found = ids.map((id) => posts.get(id)).filter(Boolean);
  return { posts: found.map(({ id, text, images, author }) => ({ id, text, images, author })) };
}

// -- callbacks --

// [snippet: verify]
import { createHmac, timingSafeEqual } from "node:crypto";

// Whether a callback was signed with our secret, less than five minutes ago.
function isFromDeadpan(body, headers, secret) {
  const timestamp = headers["webhook-timestamp"];
  if (!(Math.abs(Date.now() / 1000 - Number(timestamp)) < 300)) return false;
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const signed = Buffer.concat([Buffer.from(`${headers["webhook-id"]}.${timestamp}.`), body]);
  const wanted = createHmac("sha256", key).update(signed).digest();
  return (headers["webhook-signature"] ?? "").split(" ").some((each) => {
    const [version, signature] = each.split(",");
    const given = Buffer.from(signature ?? "", "base64");
    return version === "v1" && given.length === wanted.length && timingSafeEqual(given, wanted);
  });
}
// [end]

// Apply an event, once.
function take(webhookId, { type, data }) {
  if (taken.has(webhookId)) return; // handled before; our answer got lost
  taken.add(webhookId);
  const post = posts.get(data.post_id);
  if (!post) return;
  if (type === "verdict.created" && data.verdict_id > post.verdict_id) {
    // A parked event may arrive after a later one: the greater id wins.
    Object.assign(post, { verdict_id: data.verdict_id, label: data.label, flagged: data.flag !== null });
  }
  if (type === "decision.created") {
    if (data.action === "undo") post.decisions.delete(data.undoes);
    else if (data.action === "approve" || data.action === "remove") post.decisions.set(data.decision_id, data.action);
  }
}

// The newest decision that stands.
function decisionOf(post) {
  return post.decisions.size ? post.decisions.get(Math.max(...post.decisions.keys())) : null;
}

// -- HTTP --

async function bodyOf(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts);
}

async function answer(request) {
  const where = new URL(request.url, "http://platform");
  const id = decodeURIComponent(where.pathname.replace(/^\/posts\//, ""));
  if (request.method === "GET" && where.pathname === "/posts") {
    if (request.headers.authorization !== `Bearer ${DEADPAN_SOURCE_TOKEN}`) return [401, { error: "the token is wrong" }];
    return [200, sourceAnswer(where.searchParams.get("ids").split(","))];
  }
  const body = await bodyOf(request);
  if (request.method === "POST" && where.pathname === "/deadpan") {
    // Over the bytes as they came, before they are parsed.
    if (!isFromDeadpan(body, request.headers, DEADPAN_CALLBACK_SECRET)) return [401, { error: "the signature is wrong or old" }];
    take(request.headers["webhook-id"], JSON.parse(body));
    return [200, {}];
  }
  if (request.method === "POST" && where.pathname === "/posts") {
    const { text, images = [], author = null, priority = "normal" } = JSON.parse(body);
    const made = randomUUID();
    posts.set(made, { id: made, text, images, author, verdict_id: 0, label: null, flagged: false, decisions: new Map() });
    pushUntilTaken(LISTS[priority], made);
    return [201, { id: made }];
  }
  const post = posts.get(id);
  if (!post) return [404, { error: "no such post" }];
  if (request.method === "PUT") {
    const { text, images = [] } = JSON.parse(body);
    Object.assign(post, { text, images });
    pushUntilTaken(LISTS.normal, id);
    return [200, { id }];
  }
  if (request.method === "DELETE") {
    posts.delete(id);
    pushUntilTaken(LISTS.normal, id); // so that Deadpan notes that it is gone
    return [200, { id }];
  }
  const { text, decisions, ...rest } = post;
  const decision = decisionOf(post);
  return [200, decision === "remove" ? { ...rest, decision } : { ...rest, decision, text }];
}

const server = createServer((request, response) => {
  answer(request)
    .catch((error) => [400, { error: error.message }])
    .then(([status, told]) => {
      response.writeHead(status, { "Content-Type": "application/json" });
      response.end(JSON.stringify(told));
    });
});
server.listen(Number(process.argv[2] ?? 8080), "127.0.0.1", () => {
  console.log(`the platform listens on http://127.0.0.1:${server.address().port}`);
});
