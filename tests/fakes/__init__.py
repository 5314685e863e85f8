"""Stand-ins for the ports, for tests that kill the agent anywhere; contract tests hold them to the real."""
