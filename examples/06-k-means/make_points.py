"""Write points.csv: 200 points around each of three centres, always the same ones."""

import random

random_points = random.Random(1982)
for x, y in ((1.0, 1.0), (6.0, 7.0), (9.0, 2.0)):
    for _ in range(200):
        print(f"{random_points.gauss(x, 0.8):.3f},{random_points.gauss(y, 0.8):.3f}")
