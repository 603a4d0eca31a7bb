"""An Ape plugin: `ape alithis …` deploys registries, mints tokens and sends evidence.

This package has what needs Ape: accounts, fees, prompts, sending and waiting. What a token commits
to, and the checks before sending, are in the library (`alithis.chain.mint`), which works without
Ape.

Ape imports these modules for every `ape …` command, so slow imports are inside the functions that
need them.
"""
