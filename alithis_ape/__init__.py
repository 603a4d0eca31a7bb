"""An Ape plugin: `ape alithis …` deploys registries, mints tokens and sends evidence.

What is Ape's stands here: accounts, fees, prompts, sending and waiting. What a token commits to
and what is checked before sending is the library's (`alithis.chain.mint`), which needs no Ape.

Ape loads the commands with each `ape …`, and `ape run` loads the scripts that share them: what
takes time to import is imported where it is used.
"""
