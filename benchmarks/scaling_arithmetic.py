"""The tables of docs/scaling.md, from one machine to 60 and 1,000 GPUs.

A test holds the page against them. The formulas are in scaling_formulas.py.

    python benchmarks/scaling_arithmetic.py
"""

import math

from scaling_formulas import (
    BFLOAT16,
    CLUSTERS,
    FLOAT32,
    IMAGE_BYTES,
    NETWORKS,
    WRITTEN,
    best_interval,
    checkpoint_bytes,
    data_bytes,
    decode_cores,
    epoch_hours,
    hours_to_failure,
    lost_share,
    moved_bytes,
    reduce_bytes,
    reduce_seconds,
    servers_for_network,
    servers_for_updates,
    step_seconds,
    uses,
    workers_per_server,
)


def table(head: list[str], rows: list[list[str]]) -> str:
    """Lines of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def amount(bytes_: float) -> str:
    """Bytes with a unit.

    Example:
        >>> amount(6_231_674_624)
        '6.2 GB'
    """
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if bytes_ >= size:
            return f"{bytes_ / size:,.{0 if bytes_ >= 100 * size else 1}f} {unit}"
    return f"{bytes_ / 1e3:.1f} kB"


def duration(hours: float) -> str:
    """Hours with a unit that suits them.

    Example:
        >>> duration(108.5), duration(0.0486)
        ('108.5 h', '2.9 min')
    """
    return f"{hours:,.1f} h" if hours >= 1 else f"{hours * 60:.1f} min"


def page_tables() -> dict[str, str]:
    """The tables of the page, by name."""
    return {
        "clusters": _clusters(),
        "data": _data(),
        "synchronous": _synchronous(),
        "asynchronous": _asynchronous(),
        "checkpoints": _checkpoints(),
        "uses": _uses(),
    }


def _clusters() -> str:
    head = [
        "",
        "machines",
        "images/s of a GPU",
        "images of a GPU in a step",
        "network of a machine",
    ]
    return table(
        head,
        [
            [
                c.name,
                str(c.machines),
                f"{c.images_per_second:,.0f}",
                str(c.batch),
                f"{c.network * 8 / 1e9:.0f} Gbit/s each way",
            ]
            for c in CLUSTERS
        ],
    )


def _data() -> str:
    head = ["", "images/s", "an epoch", *(f"read, {kind}" for kind in IMAGE_BYTES)]
    return table(
        [*head, "by a machine, short side 342", "decode cores a GPU", "in all"],
        [
            [
                c.name,
                f"{c.images:,.0f}",
                duration(epoch_hours(c)),
                *(f"{amount(data_bytes(c, size))}/s" for size in IMAGE_BYTES.values()),
                f"{amount(data_bytes(c, IMAGE_BYTES['short side 342']) / c.machines)}/s",
                f"{decode_cores(c):.2f}",
                f"{math.ceil(decode_cores(c) * c.gpus):,}",
            ]
            for c in CLUSTERS
        ],
    )


def _synchronous() -> str:
    head = ["network", "", "a machine sends a step", "all-reduce", "bfloat16", "computation"]
    return table(
        [*head, "all-reduce / computation", "bfloat16"],
        [
            [
                name,
                c.name,
                amount(reduce_bytes(size, c.machines)),
                *(f"{1000 * reduce_seconds(size, c, w):,.0f} ms" for w in (FLOAT32, BFLOAT16)),
                f"{1000 * step_seconds(c):,.0f} ms",
                *(f"{reduce_seconds(size, c, w) / step_seconds(c):.0%}" for w in (4, 2)),
            ]
            for name, size in NETWORKS.items()
            for c in CLUSTERS
            if c.machines > 1
        ],
    )


def _asynchronous() -> str:
    head = ["network", "", "updates/s", "pulled", "pushed, float32", "bfloat16"]
    head += ["workers that fill one server", "servers: pulls", "pushes, float32", "bfloat16"]
    return table(
        [*head, "updates on two cores each"],
        [
            [
                name,
                c.name,
                f"{c.updates:,.0f}",
                *(f"{amount(moved_bytes(size, c, w))}/s" for w in (FLOAT32, FLOAT32, BFLOAT16)),
                f"{workers_per_server(size, c):.1f}",
                *(f"{servers_for_network(size, c, w):,}" for w in (FLOAT32, FLOAT32, BFLOAT16)),
                f"{servers_for_updates(size, c):,}",
            ]
            for name, size in NETWORKS.items()
            for c in CLUSTERS
            if c.gpus > 1
        ],
    )


def _checkpoints() -> str:
    head = ["network", "GPUs", "size", "written at 1 GB/s", "interrupted every", "best interval"]
    rows = []
    for name, size in NETWORKS.items():
        for gpus in (1, 60, 1000):
            seconds = checkpoint_bytes(size) / WRITTEN
            rows.append(
                [
                    name,
                    f"{gpus:,}",
                    amount(checkpoint_bytes(size)),
                    f"{seconds:.1f} s",
                    f"{hours_to_failure(gpus):,.0f} h",
                    f"{best_interval(seconds, gpus) / 60:.0f} min",
                    f"{lost_share(seconds, gpus):.2%}",
                ]
            )
    return table([*head, "lost at that interval"], rows)


def _uses() -> str:
    found = [uses(cluster) for cluster in CLUSTERS]
    return table(
        ["asked for / there is", *(cluster.name for cluster in CLUSTERS)],
        [[name.strip(), *(_share(column[name]) for column in found)] for name in found[0]],
    )


def _share(value: float) -> str:
    return f"**{value:,.1f}**" if value > 1 else f"{value:.2g}"


def main() -> None:
    for name, lines in page_tables().items():
        print(f"<!-- {name} -->\n{lines}\n")


if __name__ == "__main__":
    main()
