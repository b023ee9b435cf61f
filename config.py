"""Settings of a run, which pyinfra reads before it connects to any host."""

from tasks.running import before

before.connecting()
