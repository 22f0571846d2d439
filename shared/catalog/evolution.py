"""Schema evolution: whether a new declaration may replace the one of an existing table.

Constraints (max_length, minimum, enum, pattern ...) may become looser or stricter, because they are checked for new
rows only.
"""

from shared.catalog.dataset import Dataset, Field

FIXED = {
    "primary_key": "existing rows are identified by it",
    "partition_by": "existing rows are stored by it",
}


def find_conflicts(old: Dataset, new: Dataset) -> list[str]:
    """Returns a sentence for each change that would lose values of existing rows or need values that they lack.

    Both declarations must be without mistakes.
    """
    before = {field.name: field for field in old.fields}
    after = {field.name for field in new.fields}
    conflicts = [f"field {name!r} can't be removed: its values would be lost" for name in before if name not in after]
    for field in new.fields:
        reason = _check_change(before[field.name], field) if field.name in before else _check_addition(field)
        conflicts += [f"field {field.name!r} {reason}"] if reason else []
    conflicts += [
        f"{key} can't change, because {reason}: declare a dataset with another name"
        for key, reason in FIXED.items()
        if getattr(old, key) != getattr(new, key)
    ]
    return conflicts


def _check_addition(field: Field) -> str:
    if field.generated:
        return "can't be added as generated: existing rows have no number"
    if field.required and field.default is None:
        return "can't be added as required without a default: existing rows lack it"
    if field.required and field.defaults_to_now:
        return "can't be added as required with the default 'now': existing rows were loaded earlier"
    return ""


def _check_change(old: Field, new: Field) -> str:
    if new.type != old.type:
        return f"can't become {new.type}: its values are {old.type}"
    if new.generated != old.generated:
        return f"can't {'become' if new.generated else 'stop being'} generated: existing rows have other numbers"
    if new.required and not old.required:
        return "can't become required: existing rows may lack it"
    return ""
