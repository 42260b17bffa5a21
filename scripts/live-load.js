// live-load.js ADDRESS CLIENTS RESTARTS: as live-load.py websocket, with Node's own WebSocket.
const [address, clients, restarts] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const figures = { sent: 0, answered: 0, ticks: 0, lost: 0, duplicated: 0, closed: 0 };
const [trouble, pids] = [[], new Set()];
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let ended = false;

function expect(number, wanted, who) {
  if (number === wanted) return;
  figures[number > wanted ? "lost" : "duplicated"] += 1;
  trouble.push(`${who}: ${number} instead of ${wanted}`);
}

async function client(who) {
  let [sent, answered, ticks, closing] = [0, 0, 0, false];
  const socket = new WebSocket(`ws://${address}/ws?ticks=100ms`);
  socket.onclose = (event) => {
    if (!closing) { figures.closed += 1; trouble.push(`${who}: closed with ${event.code} after ${answered} of ${sent}`); }
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
  if (answered !== sent) { figures.lost += sent - answered; trouble.push(`${who}: ${answered} of ${sent} answered`); }
  figures.sent += sent; figures.answered += answered; figures.ticks += ticks;
  closing = true;
  socket.close();
}

const pid = async () => Number(await (await fetch(`http://${address}/pid`, { headers: { connection: "close" } })).text());

async function main() {
  const all = Array.from({ length: clients }, (_, who) => client(who));
  await sleep(1000);
  let serving = await pid();
  for (let count = 0; count < restarts; count++) {
    await sleep(Math.random() * 500);
    const old = serving;
    process.kill(old, "SIGUSR2");
    while ((serving = await pid()) === old) await sleep(20);
    await sleep(1500);
  }
  ended = true;
  await Promise.all(all);
  const shown = Object.entries(figures).map(([name, count]) => `${name}=${count}`).join(" ");
  console.log(`websocket clients=${clients} restarts=${restarts} processes=${pids.size} ${shown} reconnects=0`);
  trouble.slice(0, 10).forEach((what) => console.log(`    ${what}`));
  process.exit(trouble.length > 0 || pids.size < 2 ? 1 : 0);
}

main();
