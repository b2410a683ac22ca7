// Push a post id with node-redis (`npm install redis`): `node push.mjs ID [TRACEPARENT]`.
import { createClient } from "redis";

// [snippet: push]
// Have a post judged; with a traceparent, as part of that trace.
async function push(client, postId, { list = "deadpan:posts", traceparent } = {}) {
  await client.rPush(list, traceparent ? `${postId}\t${traceparent}` : postId);
}
// [end]

const url = process.env.DEADPAN_REDIS_URL ?? "redis://127.0.0.1:6380/0";
const client = await createClient({ url }).connect();
await push(client, process.argv[2], { traceparent: process.argv[3] });
await client.quit();
