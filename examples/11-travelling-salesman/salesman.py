"""The travelling salesman, by branch and bound: tasks share the search, and prune what is too long.

The first job branches: it makes the beginnings of all tours. The second bounds: its tasks complete
them, and leave a beginning alone when even the shortest way on would make it longer than the best
tour that is known. Run it with `python salesman.py capitals.csv`. Source of the method: Little,
Murty, Sweeney, Karel: An Algorithm for the Traveling Salesman Problem, 1963.
"""

import csv
import sys
from itertools import pairwise
from math import asin, cos, radians, sin, sqrt

from disco.core import Job, result_iterator
from disco.worker.classic.worker import Params

EARTH_KM = 6371.0
BRANCHED = 3  # cities of a beginning


def distance(a, b):
    """Return the kilometres between two places, (latitude, longitude) in degrees each."""
    (lat_a, lon_a), (lat_b, lon_b) = (tuple(map(radians, place)) for place in (a, b))
    half = sin((lat_b - lat_a) / 2) ** 2 + cos(lat_a) * cos(lat_b) * sin((lon_b - lon_a) / 2) ** 2
    return 2 * EARTH_KM * asin(sqrt(half))


def length(tour, places):
    """Return the kilometres of a round tour."""
    return sum(distance(places[a], places[b]) for a, b in pairwise([*tour, tour[0]]))


def greedy(places):
    """Return the tour that always goes on to the nearest city: the first bound."""
    tour = [min(places)]
    while len(tour) < len(places):
        left = [city for city in places if city not in tour]
        tour.append(min(left, key=lambda city: distance(places[tour[-1]], places[city])))
    return tour


class Branch(Job):
    """From `raw://CITY` to (kilometres, the first cities of a tour) for all that may begin so."""

    @staticmethod
    def map(city, params):
        """Yield every beginning, unless it is longer than the whole tour that is known."""
        beginnings = [(0.0, [city])]
        for _ in range(BRANCHED - 1):
            beginnings = [
                (so_far + distance(params.places[tour[-1]], params.places[city]), [*tour, city])
                for so_far, tour in beginnings
                for city in params.places
                if city not in tour
            ]
        return [beginning for beginning in beginnings if beginning[0] < params.best]

    @staticmethod
    def partition(so_far, partitions, params):
        """Spread the beginnings over the tasks that read them."""
        return int(so_far) % partitions

    partitions = 4


class Bound(Job):
    """From beginnings to (kilometres, cities) of the shortest tour."""

    @staticmethod
    def map(beginning, params):
        """Yield each tour that is better than any before it in this task.

        `params` is this task's own, so it may remember the best there.
        """
        yield from search(*beginning, params)

    @staticmethod
    def reduce(tours, params):
        """Yield the best of what the tasks have found."""
        yield min(tours)


def search(so_far, tour, params):
    """Complete a tour in all ways that may be better than the best that is known."""
    places = params.places
    left = [city for city in places if city not in tour]
    if not left:
        total = so_far + distance(places[tour[-1]], places[tour[0]])
        if total <= params.best:
            params.best = total
            yield total, tour
        return
    # From here and from each city that is left, the tour goes on at least to the nearest one.
    ends = [*left, tour[0]]
    ahead = sum(
        min(distance(places[city], places[end]) for end in ends if end != city)
        for city in [tour[-1], *left]
    )
    if so_far + ahead > params.best:
        return
    for city in sorted(left, key=lambda city: distance(places[tour[-1]], places[city])):
        step = distance(places[tour[-1]], places[city])
        yield from search(so_far + step, [*tour, city], params)


def shortest(places):
    """Return (kilometres, cities) of the shortest round tour of *places*, {city: place}."""
    first = greedy(places)
    params = Params(places=places, best=length(first, places) + 1e-6)
    branch = Branch().run(input=[f"raw://{first[0]}"], params=params)
    bound = Bound().run(input=branch.wait(), params=params)
    ((total, tour),) = result_iterator(bound.wait())
    branch.purge()
    bound.purge()
    return total, tour


def read_places(path):
    """Return {city: (latitude, longitude)} of a table `city,latitude,longitude`."""
    with open(path, newline="") as file:
        return {city: (float(lat), float(lon)) for city, lat, lon in csv.reader(file)}


if __name__ == "__main__":
    total, tour = shortest(read_places(sys.argv[1]))
    print(f"{total:.0f} km: {' - '.join(tour)}")
