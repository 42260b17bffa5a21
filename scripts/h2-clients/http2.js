// http2.js URL CA CONNECTIONS STREAMS MOST: requests by Node's http2, on sessions that are never made again, until standard input
// ends. The first session has MOST streams at once, the others STREAMS. Prints figures as JSON.
const fs = require("node:fs");
const http2 = require("node:http2");

const [url, ca, connections, streams, most] = process.argv.slice(2);
const large = Buffer.alloc(100000, "n");
const figures = { connections: Number(connections), requests: 0, failed: 0, goaway: 0, trouble: [] };
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let isOver = false;

function wrong(what) {
  figures.failed += 1;
  figures.trouble.push(what);
}

function connect() {
  const options = url.startsWith("https") ? { ca: fs.readFileSync(ca), servername: "localhost" } : {};
  const session = http2.connect(url, options);
  session.on("error", (error) => wrong(`session: ${error.message}`));
  session.on("goaway", (code) => { figures.goaway += 1; figures.trouble.push(`GOAWAY ${code}`); });
  session.on("close", () => { if (!isOver) wrong("closed"); });
  return session;
}

function ask(session) {
  const body = Math.random() < 0.25 ? large : null;
  const head = body ? { ":method": "POST", ":path": "/echo" } : { ":path": "/pid" };
  return new Promise((resolve, reject) => {
    const request = session.request(head);
    const parts = [];
    let status;
    request.on("response", (headers) => { status = headers[":status"]; });
    request.on("data", (part) => parts.push(part));
    request.on("error", reject);
    request.on("close", () => reject(new Error("closed")));
    request.on("end", () => {
      const read = Buffer.concat(parts);
      if (status === 200 && (!body || read.equals(body))) resolve();
      else reject(new Error(`${head[":path"]} is answered ${status} with ${read.length} bytes`));
    });
    request.end(body ?? undefined);
  });
}

async function worker(session) {
  while (!isOver && !session.closed && !session.destroyed) {
    try {
      await ask(session);
    } catch (error) {
      wrong(error.message);
    }
    figures.requests += 1;
    await sleep(Math.random() * 40);
  }
}

async function main() {
  const sessions = Array.from({ length: figures.connections }, connect);
  const count = (at) => (at === 0 ? Number(most) : Number(streams));
  const workers = sessions.flatMap((session, at) => Array.from({ length: count(at) }, () => worker(session)));
  process.stdin.resume();
  process.stdin.on("end", () => { isOver = true; });
  await Promise.all(workers);
  isOver = true;
  sessions.forEach((session) => session.close());
  console.log(JSON.stringify(figures));
}

main();
