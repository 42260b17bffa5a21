// live-load.js websocket|stream ADDRESS CLIENTS RESTARTS [EVENTS] [--tls]: as live-load.py, with Node's own WebSocket and
// its http.
const given = process.argv.slice(2).filter((argument) => argument !== "--tls");
const tls = process.argv.includes("--tls") ? "s" : "";
const [mode, address, clients, restarts, events] = [given[0], given[1], ...given.slice(2).map(Number)];
// Whatever the certificate.
if (tls) process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
const fs = require("fs");
const http = require(`http${tls}`);
const figures = { sent: 0, answered: 0, ticks: 0, events: 0, lost: 0, duplicated: 0, closed: 0, reconnects: 0 };
const [trouble, pids] = [[], new Set()];
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let ended = false;

function wrong(kind, count, what) {
  figures[kind] += count;
  trouble.push(what);
}

function expect(number, wanted, who) {
  if (number === wanted) return;
  wrong(number > wanted ? "lost" : "duplicated", 1, `${who}: ${number} instead of ${wanted}`);
}

async function websocket(who) {
  let [sent, answered, ticks, closing] = [0, 0, 0, false];
  const socket = new WebSocket(`ws${tls}://${address}/ws?ticks=100ms`);
  socket.onclose = (event) => {
    if (!closing) wrong("closed", 1, `${who}: closed with ${event.code} after ${answered} of ${sent}`);
  };
  socket.onmessage = ({ data }) => {
    const words = data.split(" ", 3);
    if (words[0] === "tick") { ticks += 1; expect(Number(words[1]), ticks, `${who} tick`); return; }
    answered += 1;
    pids.add(Number(words[1]));
    expect(Number(words[0]), answered, `${who} answer`);
    expect(Number(words[2]), answered, `${who} message`);
  };
  await new Promise((resolve) => { socket.onopen = resolve; socket.addEventListener("close", resolve); });
  while (!ended) {
    sent += 1;
    socket.send(`${sent} ${"x".repeat(Math.random() < 0.25 ? 60000 : 10)}`);
    await sleep(20 + Math.random() * 280);
  }
  for (const begun = Date.now(); answered < sent && Date.now() - begun < 30000;) await sleep(20);
  if (answered !== sent) wrong("lost", sent - answered, `${who}: ${answered} of ${sent} answered`);
  figures.sent += sent; figures.answered += answered; figures.ticks += ticks;
  closing = true;
  socket.close();
}

// Answers what came of a request on a connection that is kept.
function get(agent, path, hear) {
  return new Promise((resolve, reject) => {
    const request = http.get(`http${tls}://${address}${path}`, { agent }, (response) => {
      let all = "";
      response.setEncoding("utf8");
      response.on("data", (data) => { all += data; hear?.(data); });
      response.on("end", () => resolve({ all, socket: request.socket }));
      response.on("error", reject);
    });
    request.on("error", reject);
  });
}

async function stream(who) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  let [seen, begun] = [0, ""];
  try {
    const { socket } = await get(agent, `/events?every=5ms&count=${events}`, (data) => {
      const whole = (begun + data).split("\n\n");
      begun = whole.pop();
      for (const event of whole) {
        const [, number, pid] = event.split(" ");
        seen += 1;
        expect(Number(number), seen, `${who} event`);
        pids.add(Number(pid));
      }
    });
    if (seen !== events) wrong("lost", events - seen, `${who}: ${seen} of ${events} events`);
    const next = await get(agent, "/pid");
    figures.answered += 1;
    if (next.socket !== socket) wrong("reconnects", 1, `${who}: another connection for the next request`);
  } catch (error) {
    wrong("closed", 1, `${who}: ${error} after ${seen} events`);
  }
  figures.events += seen;
  agent.destroy();
}

const pid = async () => Number((await get(new http.Agent(), "/pid")).all);

async function restart(old) {
  const deadline = Date.now() + 60_000;
  const wait = (what) => {
    if (Date.now() > deadline) throw new Error(what);
    return sleep(20);
  };
  process.kill(old, "SIGUSR2");
  let serving;
  while ((serving = await pid()) === old) await wait(`${old} is not replaced`);
  // Gone, or it still has clients.
  while (descriptors(old) > 0) await wait(`${old} does not go`);
  return serving;
}

function descriptors(pid) {
  try {
    return fs.readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return 0;
  }
}

async function main() {
  const client = mode === "websocket" ? websocket : stream;
  let over = 0;
  const all = Array.from({ length: clients }, (_, who) => client(who).then(() => { over += 1; }));
  await sleep(1000);
  let serving = await pid();
  let early = 0;
  for (let count = 0; count < restarts; count++) {
    await sleep(Math.random() * 500);
    early = over;
    serving = await restart(serving);
  }
  if (early === clients) trouble.push("every one was over before the last restart");
  ended = true;
  await Promise.all(all);
  const shown = Object.entries(figures).map(([name, count]) => `${name}=${count}`).join(" ");
  const over_tls = tls ? " over TLS" : "";
  console.log(`${mode}${over_tls} clients=${clients} restarts=${restarts} processes=${pids.size} ${shown}`);
  trouble.slice(0, 10).forEach((what) => console.log(`    ${what}`));
  process.exit(trouble.length > 0 || pids.size < 2 ? 1 : 0);
}

main();
