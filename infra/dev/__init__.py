"""Brings a bare machine to running servers, with nothing but Python 3.11 and (for what is missing) apt.

Reading order: `__main__` (what the Makefile calls) -> `venv` -> `stack` (all servers at once) -> `postgres`,
`rabbitmq`, `docker_engine` (one server each) -> `fetch` and `debs` (where their binaries come from) ->
`children` and `keeper` (how they are held, and why none outlives its owner).

Only the standard library is imported here: most of it runs before the virtual environment exists.
"""
