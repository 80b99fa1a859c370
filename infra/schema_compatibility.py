"""Whether a message's JSON Schema may take the place of the one that was published. Pure.

Every body that the old schema allows must be readable by the new one (`read`); readers of the old one must get along
with what the new one writes (`write`). Readers ignore fields that they do not know and outlive new words of an
enumeration. A difference that is not understood here counts as incompatible.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Direction = Literal["read", "write", "both"]
Schema: TypeAlias = dict[str, Any]

LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
ANNOTATIONS = {"$schema", "$id", "$defs", "$ref", "title", "description", "default", "examples", "deprecated"}
UNDERSTOOD = ANNOTATIONS | {
    *LEAST, *MOST, "type", "const", "enum", "pattern", "format", "anyOf", "oneOf", "allOf", "discriminator",
    "items", "properties", "required", "additionalProperties", "patternProperties", "propertyNames",
}  # fmt: skip


def compatible(old: Schema, new: Schema, direction: Direction) -> list[str]:
    """What breaks if `new` is published in place of `old`, one sentence each; nothing: it may be.

    `read`: commands and reports, which others write; `write`: what only the platform writes; `both`: events, which
    are read back for ever and by subscribers.
    """
    broken: list[str] = []
    if direction != "write":
        broken += _Containment(old, new, lenient=False).reasons("", old, new)
    if direction != "read":
        broken += _Containment(new, old, lenient=True).reasons("", new, old)
    return list(dict.fromkeys(broken))


@dataclass(frozen=True, slots=True)
class _Containment:
    """Is every body of schema `inner` one of schema `outer`? `lenient`: as readers are, who pick what they know."""

    inner: Schema
    outer: Schema
    lenient: bool

    def reasons(self, path: str, inner: Schema | bool, outer: Schema | bool) -> list[str]:
        """Why not, below `path`."""
        inner, outer = _plain(self.inner, inner), _plain(self.outer, outer)
        if inner == outer and "$ref" not in str(inner):
            return []
        if "anyOf" in inner or "anyOf" in outer:
            return list(self._of_options(path, inner, outer))
        return [f"{path or '.'}: {reason}" for reason in (*self._of_value(inner, outer), *_unknown(inner, outer))] + [
            *self._of_object(path, inner, outer),
            *self._of_items(path, inner, outer),
        ]

    def _of_options(self, path: str, inner: Schema, outer: Schema) -> Iterator[str]:
        for option in inner.get("anyOf", [inner]):
            tried = [self.reasons(path, option, other) for other in outer.get("anyOf", [outer])]
            if all(tried):
                yield from min(tried, key=len)

    def _of_value(self, inner: Schema, outer: Schema) -> Iterator[str]:
        was, now = inner.get("type"), outer.get("type")
        if now is not None and was != now and (was, now) != ("integer", "number"):
            yield self._say(f"type {was or 'any'}", f"type {now}")
        if self.lenient:
            return
        if "enum" in outer and not set(inner.get("enum", [...])) <= set(outer["enum"]):
            yield f"values narrowed to {outer['enum']}"
        for key in ("pattern", "format"):
            if key in outer and inner.get(key) != outer[key]:
                yield f"{key} narrowed from {inner.get(key, 'any')} to {outer[key]}"
        for keys, sign in ((LEAST, 1), (MOST, -1)):
            for key in keys:
                if key in outer and (key not in inner or outer[key] * sign > inner[key] * sign):
                    yield f"{key} narrowed from {inner.get(key, 'none')} to {outer[key]}"

    def _of_items(self, path: str, inner: Schema, outer: Schema) -> list[str]:
        if "items" not in outer:
            return []
        return self.reasons(f"{path}[]", inner.get("items", {}), outer["items"])

    def _of_object(self, path: str, inner: Schema, outer: Schema) -> Iterator[str]:
        has, wanted = inner.get("properties", {}), outer.get("properties", {})
        for name in sorted(set(outer.get("required", ())) - set(inner.get("required", ()))):
            yield f"{path}.{name}: " + ("no longer always there" if self.lenient else "is newly required")
        for name in sorted(set(has) & set(wanted)):
            yield from self.reasons(f"{path}.{name}", has[name], wanted[name])
        if self.lenient:
            yield from (f"{path}.{name}: was removed" for name in sorted(set(wanted) - set(has)))
            return
        other = outer.get("additionalProperties", True)
        for name in sorted(set(has) - set(wanted)):
            if other is False:
                yield f"{path}.{name}: was removed"
            else:
                yield from self.reasons(f"{path}.{name}", has[name], other)
        yield from self._of_other_names(path, inner, outer)

    def _of_other_names(self, path: str, inner: Schema, outer: Schema) -> Iterator[str]:
        was, now = inner.get("additionalProperties", True), outer.get("additionalProperties", True)
        if now is False and was is not False:
            yield f"{path or '.'}: unknown fields are newly refused"
        elif isinstance(now, dict) and was is not False:
            yield from self.reasons(f"{path}.*", was, now)  # pyright: ignore[reportUnknownArgumentType]
        patterns, others = inner.get("patternProperties", {}), outer.get("patternProperties", {})
        if set(patterns) != set(others):
            yield f"{path or '.'}: names narrowed from {sorted(patterns)} to {sorted(others)}"
        for pattern in sorted(set(patterns) & set(others)):
            yield from self.reasons(f"{path}.*", patterns[pattern], others[pattern])
        if "propertyNames" in outer:
            yield from self.reasons(f"{path}.<name>", inner.get("propertyNames", {}), outer["propertyNames"])

    def _say(self, inner: str, outer: str) -> str:
        return f"{outer} became {inner}" if self.lenient else f"{inner} narrowed to {outer}"


def _plain(root: Schema, schema: Schema | bool) -> Schema:
    """`schema` without references, with one word for enumerations and one for unions."""
    if isinstance(schema, bool):
        return {} if schema else {"enum": []}
    plain = schema
    while "$ref" in plain:
        plain = root["$defs"][plain["$ref"].rpartition("/")[2]] | _without(plain, "$ref")
    if len(plain.get("allOf", ())) == 1:
        plain = _plain(root, plain["allOf"][0]) | _without(plain, "allOf")
    if "const" in plain:
        plain = _without(plain, "const") | {"enum": [plain["const"]]}
    if "oneOf" in plain:
        plain = _without(plain, "oneOf", "discriminator") | {"anyOf": plain["oneOf"]}
    return _without(plain, *ANNOTATIONS)


def _without(schema: Schema, *keys: str) -> Schema:
    return {key: value for key, value in schema.items() if key not in keys}


def _unknown(inner: Schema, outer: Schema) -> Iterator[str]:
    for key in sorted((set(inner) | set(outer)) - UNDERSTOOD):
        if inner.get(key) != outer.get(key):
            yield f"{key} changed, which is not understood here"
