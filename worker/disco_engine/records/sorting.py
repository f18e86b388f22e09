"""Sorting columns of records in memory: by key, stable, with repeated keys folded into one."""

import random
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise, permutations, repeat
from operator import ne
from typing import Any

from disco_engine.records.blocks import StoredBlock
from disco_engine.records.frozen import (
    FOLDABLE_TYPES,
    EarlierRecordError,
    Pickled,
    pickle_of,
    shown,
    thaw,
    type_name,
)

# Where to look for repeated keys: the same places in all columns, so that runs are reproducible.
_RANDOM = random.Random(1)
_PROBE = sorted(_RANDOM.random() for _ in range(512))
# Below this a column is sorted before the probe would have been evaluated.
_MIN_PROBED = 2048


def sort_columns(keys: list[Any], values: list[Any]) -> StoredBlock:
    """Return records in key order; values of equal keys keep their order.

    Keys are folded (``counts`` is set) if they seem to occur twice or more on average.

    Args:
        keys: Any values that compare with each other, or Pickled.
        values: As many; they are not looked at.

    Raises:
        RecordError: The keys cannot be ordered.
    """
    kinds = set(map(type, keys))
    if kinds <= FOLDABLE_TYPES and len(kinds) == 1 and _repeats(keys):
        return _fold_columns(keys, values)
    comparable = list(map(thaw, keys)) if Pickled in kinds else keys
    order = sorted_order(comparable)
    return StoredBlock(list(map(keys.__getitem__, order)), list(map(values.__getitem__, order)))


def merge_blocks(blocks: Sequence[StoredBlock]) -> StoredBlock:
    """Return the records of all blocks in key order; equal keys keep the order of the blocks.

    It is quick if the blocks are sorted, and right if they are not.

    Raises:
        RecordError: The keys cannot be ordered.
    """
    pickled = any(block.pickled for block in blocks)
    columns = [_values(block, pickled) for block in blocks]
    if all(block.counts is None for block in blocks):
        keys = list(chain.from_iterable(block.keys for block in blocks))
        merged = sort_columns(keys, list(chain.from_iterable(columns)))
    elif _one_foldable_type(blocks):
        merged = _fold_blocks(blocks, columns)
    else:
        keys = list(chain.from_iterable(map(expanded_keys, blocks)))
        order = sorted_order(keys)
        values = list(chain.from_iterable(columns))
        merged = StoredBlock(
            list(map(keys.__getitem__, order)), list(map(values.__getitem__, order))
        )
    return merged._replace(pickled=pickled)


def expanded_keys(block: StoredBlock) -> Iterable[Any]:
    """Return one key per record of *block*."""
    if block.counts is None:
        return block.keys
    return chain.from_iterable(map(repeat, block.keys, block.counts))


def folded(groups: dict[Any, list[Any]], keys: list[Any]) -> StoredBlock:
    """Return the records of the groups named by *keys*, in key order.

    Args:
        groups: The values of each key.
        keys: Keys of *groups*; sorted in place.

    Raises:
        RecordError: The keys cannot be ordered.
    """
    try:
        keys.sort()
    except TypeError as error:
        raise unsortable(keys, error) from error
    lists = list(map(groups.__getitem__, keys))
    counts = list(map(len, lists))
    values = list(chain.from_iterable(lists))
    return StoredBlock(keys, values, None if len(values) == len(keys) else counts)


def sorted_order(keys: list[Any]) -> list[int]:
    """Return the positions of *keys* in key order, equal keys in the order they have.

    Raises:
        RecordError: The keys cannot be ordered.
    """
    kinds = set(map(type, keys))
    if any(issubclass(kind, (set, frozenset)) for kind in kinds):
        example = next(key for key in keys if isinstance(key, (set, frozenset)))
        raise EarlierRecordError(
            f"cannot sort by the key {shown(example)} of type {type_name(example)}: comparing sets"
            " tells subsets, not an order; use a sorted tuple of its elements as the key"
        )
    if any(issubclass(kind, float) for kind in kinds) and any(map(ne, keys, keys)):
        raise EarlierRecordError(
            "cannot sort by the key nan: it has no place in an order;"
            " leave such records out or give them another key"
        )
    try:
        return sorted(range(len(keys)), key=keys.__getitem__)
    except TypeError as error:
        raise unsortable(keys, error) from error


def unsortable(keys: Sequence[Any], error: TypeError) -> EarlierRecordError:
    """Return the error that names two of *keys* that do not compare with each other."""
    examples = list({type(key): key for key in keys}.values())
    pairs = chain(permutations(examples, 2), pairwise(keys))
    for a, b in pairs:
        try:
            bool(a < b)
        except TypeError:
            what = f"{shown(a)} of type {type_name(a)} and {shown(b)} of type {type_name(b)}"
            break
    else:
        what = f"{shown(keys[0])} of type {type_name(keys[0])} and others ({error})"
    return EarlierRecordError(
        f"cannot sort by the keys {what}: sort=True needs keys that compare with each other;"
        " make them of one type, or leave sort off"
    )


def _repeats(keys: list[Any]) -> bool:
    """Return whether keys seem to occur twice or more on average.

    Of n draws from d equally frequent keys, about n * n / 2d pairs are equal; the more uneven the
    keys, the more. So s probes with c repetitions speak of s * s / 2c keys.
    """
    size = len(keys)
    if size < _MIN_PROBED:
        return False
    places = {int(place * size) for place in _PROBE}
    repetitions = len(places) - len({keys[place] for place in places})
    return repetitions * size >= len(places) ** 2


def _one_foldable_type(blocks: Sequence[StoredBlock]) -> bool:
    kinds: set[type] = set()
    for block in blocks:
        kinds.update(map(type, block.keys))
    return len(kinds) == 1 and kinds <= FOLDABLE_TYPES


def _values(block: StoredBlock, pickled: bool) -> list[Any]:
    """Return the block's values, as pickles if *pickled*."""
    if pickled and not block.pickled:
        return list(map(pickle_of, block.values))
    return block.values


def _fold_columns(keys: list[Any], values: list[Any]) -> StoredBlock:
    groups: dict[Any, list[Any]] = {}
    for key, value in zip(keys, values, strict=True):
        try:
            groups[key].append(value)
        except KeyError:
            groups[key] = [value]
    return folded(groups, list(groups))


def _fold_blocks(blocks: Sequence[StoredBlock], columns: list[list[Any]]) -> StoredBlock:
    groups: dict[Any, list[Any]] = {}
    for block, values in zip(blocks, columns, strict=True):
        start = 0
        for key, count in zip(block.keys, block.counts or repeat(1), strict=False):
            stop = start + count
            if key in groups:
                groups[key] += values[start:stop]
            else:
                groups[key] = values[start:stop]
            start = stop
    return folded(groups, list(groups))
