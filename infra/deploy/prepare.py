"""What a system needs before its processes start: the database's schema and the broker's topology.

`python -m infra.deploy.prepare`, by the settings `database.owner_url` and `amqp.url`. Both may be done already.
"""

import asyncio

from adapters.topology import declare
from infra.migrate import migrate
from infra.settings import Settings, load
from infra.topology import TOPOLOGY


def main(settings: Settings) -> None:
    """Raises MigrationFailed, TopologyConflict, Unavailable."""
    migrate(settings.database.dsn("owner"))
    asyncio.run(declare(settings.amqp.url.get_secret_value(), TOPOLOGY))


if __name__ == "__main__":
    main(load())
