"""Stacks that run side by side leave each other their ports."""

from deploy.local import ports
from deploy.local.state import Home
from tests.stack import Stack


async def test_a_part_that_is_down_keeps_its_port(stack: Stack) -> None:
    port = Home(stack.home).read_config().ports["sandbox"]
    assert stack.millrace("down", "sandbox").returncode == 0
    assert ports.is_free(port)
    assert not ports.claim(port)
    started = stack.millrace("up", "sandbox")
    assert started.returncode == 0, started.stderr
    assert Home(stack.home).read_config().ports["sandbox"] == port
