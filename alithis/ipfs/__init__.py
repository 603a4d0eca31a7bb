"""IPFS formats: content identifiers (CIDs), the blocks of files, CAR archives.

Nothing here uses the network: `alithis.manifest` records the CIDs of its files, and
`alithis.storage` uploads and downloads them.
"""
