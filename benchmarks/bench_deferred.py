"""`make bench-deferred`: how well deferred calls take the cheapest lane that makes their deadline.

Months of jobs go through the product's own choice of lanes, gathering and learning, at providers whose delays are as published,
and at others: quicker, slower, turning slow. Time is an argument, nothing sleeps. Each month is compared with what the product
said when it took the jobs (how many lanes would be late, how many deadlines missed), and with a clairvoyant who knows how long
each lane will take, and needs no margin to change lanes.

    make bench-deferred         JOBS=100,1000 a day, SEED=1
"""

import os

import django

from benchmarks import results_file

JOBS_A_DAY = [int(text) for text in os.environ.get("JOBS", "100,1000").split(",")]
SEED = int(os.environ.get("SEED", "1"))
GOAL = 0.05


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from benchmarks.deferred.comparing import result_of, table
    from benchmarks.deferred.month import Month
    from benchmarks.deferred.providers import PROVIDERS

    machine = results_file.machine()
    results = [
        result_of(Month(provider, jobs_a_day, SEED).run())
        for provider in PROVIDERS
        for jobs_a_day in JOBS_A_DAY
    ]
    print(table(results))
    months = [one.to_json() for one in results]
    path = results_file.write(
        "deferred",
        {"machine": machine, "seed": SEED, "goal_behind_clairvoyant": GOAL, "months": months},
    )
    print(f"written to {path.relative_to(path.parents[2])}")


if __name__ == "__main__":
    main()
