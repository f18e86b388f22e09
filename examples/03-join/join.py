"""Join two tables on a column: which rivers flow through which country's cities."""

import csv

from disco import Job
from disco.util import kvgroup

CITIES, RIVERS = "city", "river"


class Join(Job):
    """From cities.csv (city,country) and rivers.csv (river,city) to (river, country)."""

    partitions = 3
    sort = True

    @staticmethod
    def map(line, params):
        """Yield (city, (which table, the other column)); the tables differ by their first field."""
        table, first, second = next(csv.reader([line.decode().rstrip("\n")]))
        if table == CITIES:
            yield first.encode(), (CITIES, second)
        elif table == RIVERS:
            yield second.encode(), (RIVERS, first)

    @staticmethod
    def reduce(pairs, params):
        """Yield (river, country, city) for each city that both tables know."""
        for city, rows in kvgroup(pairs):
            countries, rivers = [], []
            for table, value in rows:
                (countries if table == CITIES else rivers).append(value)
            for country in countries:
                for river in rivers:
                    yield river, (country, city.decode())
