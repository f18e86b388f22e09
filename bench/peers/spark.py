"""PySpark's RDD API, two local cores."""

import shutil
import sys
import tempfile
from operator import add

from pyspark import SparkConf, SparkContext


def main(case, paths):
    """Run one case and print a checksum that all contenders share."""
    conf = SparkConf().setMaster("local[2]").setAppName(case).set("spark.ui.enabled", "false")
    conf.set("spark.driver.memory", "4g").set("spark.driver.bindAddress", "127.0.0.1")
    conf.set("spark.driver.host", "127.0.0.1")
    context = SparkContext(conf=conf)
    context.setLogLevel("ERROR")
    lines = context.textFile(",".join(paths))
    if case in ("wordcount", "shuffle"):
        pairs = lines.flatMap(str.split).map(lambda word: (word, 1))
        if case == "wordcount":
            counts = pairs.reduceByKey(add, 2)
        else:
            counts = pairs.groupByKey(2).mapValues(len)
        result = counts.values().aggregate(
            (0, 0), lambda a, n: (a[0] + 1, a[1] + n), lambda a, b: (a[0] + b[0], a[1] + b[1])
        )
        print(*result)
    elif case == "sort":
        folder = tempfile.mkdtemp()
        rows = lines.map(lambda line: (line[:10], line[11:]))
        rows.sortByKey(numPartitions=8).map("\t".join).saveAsTextFile(f"{folder}/out")
        shutil.rmtree(folder)
    context.stop()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
