"""kombu's Redis transport, without the moment in which a message is nowhere.

kombu takes a message from its queue (BRPOP) and then writes down that a worker has it. What is
killed in between loses the message (kombu's issue 305), and a busy worker is often killed there.
Here one script does both.
"""

from queue import Empty
from time import monotonic, time
from typing import Any

from kombu.transport import redis, virtual
from kombu.utils.json import dumps

# Both lists are read from the right. A bell wakes one worker that waits; what it says is worth
# nothing, so that it does not matter if it is lost.
_PUT = """
redis.call('LPUSH', KEYS[1], ARGV[1])
if redis.call('LLEN', KEYS[2]) < 100 then redis.call('LPUSH', KEYS[2], '') end
"""
# What is written down is what kombu would write, so that all the rest is kombu's: acknowledgement,
# visibility timeout, what is left when a worker stops.
_TAKE = """
for i = 3, #KEYS do
  local message = redis.call('RPOP', KEYS[i])
  if message then
    local properties = cjson.decode(message)['properties']
    local info = properties['delivery_info']
    local place = cjson.encode(info['exchange']) .. ',' .. cjson.encode(info['routing_key'])
    redis.call('ZADD', KEYS[1], ARGV[1], properties['delivery_tag'])
    redis.call('HSET', KEYS[2], properties['delivery_tag'], '[' .. message .. ',' .. place .. ']')
    return {KEYS[i], message}
  end
end
"""

_Channel: Any = redis.Channel  # the stubs leave out what transports override


class QoS(redis.QoS):
    """Knows that a message that was taken is written down already."""

    channel: Any

    def append(self, message: Any, delivery_tag: str) -> None:
        """Keep a message until it is acknowledged."""
        if self.channel.taking:
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)


class Channel(_Channel):  # type: ignore[misc]  # see above
    """Takes messages while there are any, and then waits for a bell."""

    QoS = QoS

    taking = False
    """Whether a message is just being taken by the script."""
    _found_nothing = False

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:
        if self._expires or kwargs.get("_publish_batch"):  # not used by the engine
            super()._put(queue, message, **kwargs)
            return
        priority = self._get_message_priority(message, reverse=False)
        keys = [self._q_for_pri(queue, priority), _bell(queue)]
        with self.conn_or_acquire() as client:
            client.eval(_PUT, len(keys), *keys, dumps(message))

    def _connparams(self, *args: Any, **kwargs: Any) -> Any:
        """Return how to reach the broker; ConnectionError if the connection has been closed.

        kombu raises AttributeError, at which a worker ends: a closed connection may be closed once
        more, or be told of the end of a task, when a broker is lost.
        """
        if self.connection.client is None:
            msg = "the connection to the broker has been closed"
            raise ConnectionError(msg)
        return super()._connparams(*args, **kwargs)

    def _brpop_start(self, timeout: float | None = None) -> None:
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        if self._found_nothing:
            command = ["BRPOP", *map(_bell, queues), timeout or self.brpop_timeout]
        else:
            keys = [self.unacked_index_key, self.unacked_key]
            keys += [self._q_for_pri(q, step) for step in self.priority_steps for q in queues]
            command = ["EVAL", _TAKE, len(keys), *keys, time()]
        self._in_poll = self.client.connection
        self._brpop_sent_at = monotonic()
        self.client.connection.send_command(*command)

    def _brpop_read(self, **options: Any) -> Any:
        if self._found_nothing:
            self._found_nothing = False
            return self._hear_bell(**options)
        self.taking = True
        try:
            return super()._brpop_read(**options)  # reads both answers the same way
        except Empty:
            self._found_nothing = True
            raise
        finally:
            self.taking = False

    def _hear_bell(self, **options: Any) -> None:
        try:
            self.client.parse_response(self.client.connection, "BRPOP", **options)
        except self.connection_errors:
            self.client.connection.disconnect()
            raise
        finally:
            self._in_poll = None
        raise Empty


class Transport(redis.Transport):
    """The transport for `redis://` and `rediss://`."""

    Channel = Channel


def _bell(queue: str) -> str:
    return f"{queue}.bell"
