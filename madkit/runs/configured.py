"""Classes that are configured by their constructor: options, their values, and a name from both."""

import inspect
from typing import Any, ClassVar

from madkit.errors import ConfigError
from madkit.runs.naming import labelled, snake


class Configured:
    """A class that keeps each constructor argument as an attribute of the same name.

    Class attributes:
        short: the stem of `name`; the class name in snake case unless given.
    """

    short: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "short" not in vars(cls):
            cls.short = snake(cls.__name__)

    @classmethod
    def options(cls) -> dict[str, inspect.Parameter]:
        """The constructor's parameters by name."""
        parameters = inspect.signature(cls.__init__).parameters.items() if cls.__init__ is not object.__init__ else ()
        return {name: p for name, p in parameters if name != "self"}

    @property
    def config(self) -> dict[str, Any]:
        """The constructor arguments: plain numbers, strings, booleans and None, or lists or dictionaries of these."""
        missing = [name for name in self.options() if not hasattr(self, name)]
        if missing:
            raise ConfigError(f"{type(self).__name__} does not keep {missing}: set self.{missing[0]} in __init__")
        return {name: getattr(self, name) for name in self.options()}

    @property
    def name(self) -> str:
        """The name in results: `short` and each option not at its default, as in ``mahalanobis_relative``."""
        options = self.options()
        return labelled(self.short, {key: v for key, v in self.config.items() if v != options[key].default})

    def extra_repr(self) -> str:
        """Constructor arguments, for ``print``."""
        return ", ".join(f"{name}={value!r}" for name, value in self.config.items())
