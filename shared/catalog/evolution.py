"""Which declaration may follow another one over a table that has rows.

What a field demands of values (max_length, minimum, enum, pattern ...) may become looser or stricter: it is asked of
what comes in, and rows that are there already stay as they are.
"""

from shared.catalog.dataset import Dataset, Field

STANDING = {
    "primary_key": "rows are known by it already",
    "partition_by": "rows are kept by it already",
}


def refusals(old: Dataset, new: Dataset) -> list[str]:
    """Why the table of the old declaration can't become the one of the new without losing or inventing something.

    A sentence each; empty when it can. Both declarations are without mistakes.
    """
    before = {field.name: field for field in old.fields}
    after = {field.name for field in new.fields}
    found = [f"field {name!r} can't be removed: its values would be lost" for name in before if name not in after]
    for field in new.fields:
        reason = _changed(before[field.name], field) if field.name in before else _added(field)
        found += [f"field {field.name!r} {reason}"] if reason else []
    found += [
        f"{word} can't change, because {reason}: declare a dataset of another name"
        for word, reason in STANDING.items()
        if getattr(old, word) != getattr(new, word)
    ]
    return found


def _added(field: Field) -> str:
    if field.generated:
        return "can't be added as generated: rows without a number are there already"
    if field.required and field.default is None:
        return "can't be added as required without a default: rows without it are there already"
    if field.required and field.defaults_to_now:
        return "can't be added as required with the default 'now': the rows that are there already came earlier"
    return ""


def _changed(old: Field, new: Field) -> str:
    if new.type != old.type:
        return f"can't become {new.type}: its values are {old.type}"
    if new.generated != old.generated:
        return f"can't {'become' if new.generated else 'cease to be'} generated: its rows have other numbers already"
    if new.required and not old.required:
        return "can't become required: rows without it may be there already"
    return ""
