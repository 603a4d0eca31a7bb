"""IPFS's formats: content identifiers, the blocks of files, CAR archives.

Pure formats, without a network: `alithis.manifest` names its files by CID, and
`alithis.storage` uploads and downloads them.
"""
