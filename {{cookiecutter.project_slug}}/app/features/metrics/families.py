"""Counts in the form in which Prometheus reads them."""

from collections.abc import Iterable, Sequence
from itertools import accumulate

import prometheus_client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from .counts import BOUNDS, Distribution

_BOUND_NAMES = [*map(str, BOUNDS[:-1]), "+Inf"]

Labels = Sequence[str]
"""The values of the labels, in the order of their names."""


def counter(
    name: str, text: str, labels: Sequence[str], values: Iterable[tuple[Labels, int, float]]
) -> CounterMetricFamily:
    """Make a counter of labels, values, and since when each is counted (a Unix time)."""
    family = CounterMetricFamily(name, text, labels=labels)
    shown = _shows_created()
    for label_values, value, created in values:
        family.add_metric(label_values, value, created if shown else None)
    return family


def gauge(
    name: str, text: str, labels: Sequence[str], values: Iterable[tuple[Labels, int]]
) -> GaugeMetricFamily:
    """Make a gauge of labels and values."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def histogram(
    name: str,
    text: str,
    labels: Sequence[str],
    values: Iterable[tuple[Labels, Distribution, float]],
) -> HistogramMetricFamily:
    """Make a histogram of labels, values, and since when each is counted (a Unix time)."""
    family = HistogramMetricFamily(name, text, labels=labels)
    shown = _shows_created()
    for label_values, times, created in values:
        buckets = list(zip(_BOUND_NAMES, accumulate(times.counts), strict=True))
        family.add_metric(label_values, buckets, times.total)
        if shown:
            named = dict(zip(labels, label_values, strict=True))
            family.add_sample(f"{name}_created", named, created)
    return family


def _shows_created() -> bool:
    """Say whether the client adds `_created` series; an environment variable turns them off."""
    probe = prometheus_client.Counter("probe", "", registry=None)
    return any(s.name == "probe_created" for family in probe.collect() for s in family.samples)
