"""IPFS's formats: content identifiers, the blocks of files, CAR archives."""
