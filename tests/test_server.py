"""The server: what its event loop says of tasks that nobody awaited."""

import asyncio
import gc

import pytest

pytest.importorskip("voila")

from tornado.websocket import WebSocketClosedError

from serfiq_widgets.server import leave_quietly


@pytest.mark.parametrize(
    ("error", "said"), [(WebSocketClosedError(), False), (ValueError("odd"), True)]
)
def test_only_a_closed_page_is_no_error(error, said, caplog, elsewhere):
    async def forgotten():
        raise error

    async def serve():
        asyncio.get_running_loop().set_exception_handler(leave_quietly)
        task = asyncio.ensure_future(forgotten())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task
        gc.collect()

    elsewhere(lambda: asyncio.run(serve()))
    assert ("never retrieved" in caplog.text) == said
