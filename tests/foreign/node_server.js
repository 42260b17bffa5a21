// An HTTP server of Node's own that drains: requests are answered, idle connections get one more answer or 20 s.
'use strict';
const http = require('node:http');

let draining = false;
const answer = (path) => {
  if (path === '/pid') return String(process.pid);
  if (path === '/generation') return process.env.SERVER_STARTER_GENERATION ?? '0';
  return 'Hello from Node';
};
const server = http.createServer((request, response) => {
  if (draining) response.setHeader('Connection', 'close');
  response.end(answer(request.url));
});
server.keepAliveTimeout = 60_000;
server.listen({ fd: 3 }, () => {
  if (process.env.HEIRLOOM_READY_FD) require('node:fs').writeSync(Number(process.env.HEIRLOOM_READY_FD), 'ready\n');
});
process.on('SIGTERM', () => {
  draining = true;
  // server.close() would end idle connections at once (since Node 19), and with them the requests on their way.
  require('node:net').Server.prototype.close.call(server);
  setTimeout(() => server.closeAllConnections(), 20_000).unref();
});
