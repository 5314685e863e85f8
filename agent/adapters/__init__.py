"""One outside system each, behind a Protocol of `agent.ports`; adapters never import each other."""
