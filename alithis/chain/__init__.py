"""The registry contract, read over JSON-RPC, and its events in an index."""
