"""Show errors of callbacks as a message beside the widget, and keep photos out of the log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import traitlets as t

from serfiq_widgets.errors import SerfiqError, drop_traceback

log = logging.getLogger(__name__)

INTERNAL_ERROR = (
    "Something went wrong on our side; the photo before is still there. Try another one."
)
NO_MEMORY = "There is too little memory for this just now. Try a smaller photo, or try again later."


class HasMessage(t.HasTraits):
    """A state with an error message for users, empty if there is no error."""

    message = t.Unicode("")


def show_errors(state: HasMessage, callback: Callable[..., None]) -> Callable[..., None]:
    """Wrap a callback so that an exception becomes the state's message."""

    def guarded(*arguments: Any) -> None:
        try:
            callback(*arguments)
        except SerfiqError as error:
            state.message = str(drop_traceback(error))
        except MemoryError as error:
            drop_traceback(error)
            state.message = NO_MEMORY
        except Exception as error:  # noqa: BLE001  # the outermost handler before the user
            # without the traceback, whose values might contain a visitor's photo
            drop_traceback(error)
            log.error("%s in %s", type(error).__name__, callback.__name__)  # noqa: TRY400
            state.message = INTERNAL_ERROR

    return guarded
