# For tests/command/loads.rs: without the reactor that closes new connections when Puma 5 stops.
queue_requests false
