"""Where manifests are stored and read from: the local store, hosts, gateways, HTTP, buckets."""
