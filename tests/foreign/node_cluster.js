// Node's own cluster: `node_cluster.js PORT`. USR2 starts a new worker, and then has the old one end as Node ends one.
'use strict';
const cluster = require('node:cluster');

// Each worker accepts for itself: else the primary would, for all of them.
cluster.schedulingPolicy = cluster.SCHED_NONE;
if (cluster.isPrimary) {
  process.on('SIGUSR2', () => {
    const old = Object.values(cluster.workers);
    // It closes its idle connections without a word, and waits for the others.
    cluster.fork().once('listening', () => old.forEach((worker) => worker.disconnect()));
  });
  process.on('SIGTERM', () => process.exit(0));
  cluster.fork();
} else {
  const server = require('node:http').createServer((request, response) => {
    request.resume().on('end', () => response.end(String(process.pid)));
  });
  server.keepAliveTimeout = 60_000;
  server.listen(Number(process.argv[2]), '127.0.0.1');
}
