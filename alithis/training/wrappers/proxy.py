"""The base class of wrappers: a proxy that `isinstance` accepts as the wrapped object's type."""

from __future__ import annotations

from typing import Any


class Wrapper:
    """Stands in for an object, and records the data points that are read from it.

    Frameworks check types with ``isinstance``, which accepts a wrapper as an object of the wrapped
    type. Code in C reads memory instead, so it has to ask for items or the whole array, and the
    wrapper records that.
    """

    _wrapped: Any

    def __init__(self, data: Any) -> None:
        """Wrap an object."""
        object.__setattr__(self, "_wrapped", data)

    @property  # type: ignore[misc]
    def __class__(self) -> type[Any]:
        """The wrapped object's class."""
        found: type[Any] = type(self._wrapped)
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the wrapper: by default, pickle would use the wrapped type from `__class__`."""
        return _restored, (type(self), dict(vars(self)))

    def __len__(self) -> int:
        """Return the wrapped object's length."""
        return len(self._wrapped)

    def __repr__(self) -> str:
        """Show that the object is wrapped."""
        return f"Recorded({self._wrapped!r})"

    def __getattr__(self, name: str) -> Any:
        """Return the wrapped object's attribute; what is read through it is not recorded."""
        if (name.startswith("__") and name.endswith("__")) or "_wrapped" not in vars(self):
            raise AttributeError(name)
        return getattr(self._wrapped, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute of the wrapped object, such as its transform."""
        if name in vars(self):
            object.__setattr__(self, name, value)
        else:
            setattr(self._wrapped, name, value)


def _restored(kind: type[Wrapper], state: dict[str, Any]) -> Any:
    made = object.__new__(kind)
    vars(made).update(state)
    return made
