//! WebSockets and event streams that go on over a restart.
