"""Where manifests are kept and read from: the local store, hosts, gateways, HTTP."""
