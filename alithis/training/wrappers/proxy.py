"""What every wrapped object has: it passes for an object of the type that it wraps."""

from __future__ import annotations

from typing import Any


class Fed:
    """Stands for an object, and notes what it gives.

    ``isinstance`` takes it for the object's type, as frameworks want it; code in C does not, and
    asks for items or for the whole, which is noted then.
    """

    _fed: Any

    def __init__(self, data: Any) -> None:
        """Wrap an object."""
        object.__setattr__(self, "_fed", data)

    @property  # type: ignore[misc]
    def __class__(self) -> type[Any]:
        """The wrapped object's."""
        found: type[Any] = type(self._fed)
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as what it is, not as what it passes for."""
        return _restored, (type(self), dict(vars(self)))

    def __len__(self) -> int:
        """Return what the object returns."""
        return len(self._fed)

    def __repr__(self) -> str:
        """Show that it is wrapped."""
        return f"Fed({self._fed!r})"

    def __getattr__(self, name: str) -> Any:
        """Return the object's own attribute: what is read there is not noted."""
        if (name.startswith("__") and name.endswith("__")) or "_fed" not in vars(self):
            raise AttributeError(name)
        return getattr(self._fed, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute of the object, such as its transform."""
        if name in vars(self):
            object.__setattr__(self, name, value)
        else:
            setattr(self._fed, name, value)


def _restored(kind: type[Fed], state: dict[str, Any]) -> Any:
    made = object.__new__(kind)
    vars(made).update(state)
    return made
