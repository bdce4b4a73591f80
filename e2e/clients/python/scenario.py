"""Puts, reads, watches and leases with the Python client etcd3 against running members.

Usage: scenario.py HOST:PORT[,HOST:PORT...]. Prints one line per step that held, exits 1 at the first that does not.
"""
import queue
import sys

import etcd3

WAIT_SECONDS = 20


def check(step, condition, seen):
    if not condition:
        sys.exit(f"{step}: {seen!r}")
    print(f"ok {step}", flush=True)


def main(endpoints):
    clients = []
    for endpoint in endpoints.split(","):
        host, port = endpoint.rsplit(":", 1)
        clients.append(etcd3.client(host=host, port=int(port), timeout=WAIT_SECONDS))
    writer, reader = clients[0], clients[-1]

    writer.put("/py/a", "1")
    value, meta = reader.get("/py/a")
    check("put through one member, get through another", (value, meta.version) == (b"1", 1), (value, meta.version))

    events = queue.Queue()
    watch = reader.add_watch_callback("/py/", events.put, range_end="/py0")
    writer.put("/py/b", "2")
    writer.put("/py/a", "3")
    writer.delete("/py/b")
    seen = []
    while len(seen) < 3:
        seen.extend(events.get(timeout=WAIT_SECONDS).events)
    reader.cancel_watch(watch)
    shapes = [(type(event).__name__, event.key) for event in seen]
    wanted = [("PutEvent", b"/py/b"), ("PutEvent", b"/py/a"), ("DeleteEvent", b"/py/b")]
    check("watch sees all changes in order", shapes == wanted, shapes)
    revisions = [event.mod_revision for event in seen]
    check("revisions of events ascend by one", revisions == list(range(revisions[0], revisions[0] + 3)), revisions)

    swapped, _ = writer.transaction(
        compare=[writer.transactions.value("/py/a") == "3"],
        success=[writer.transactions.put("/py/a", "4")],
        failure=[],
    )
    again, _ = writer.transaction(
        compare=[writer.transactions.value("/py/a") == "3"],
        success=[writer.transactions.put("/py/a", "5")],
        failure=[],
    )
    check("a compare-and-swap happens once", (swapped, again) == (True, False), (swapped, again))
    keys = sorted(meta.key for _, meta in reader.get_prefix("/py/"))
    check("a prefix is listed", keys == [b"/py/a"], keys)

    lease = writer.lease(ttl=60)
    writer.put("/py/leased", "x", lease=lease)
    check("a lease is renewed", lease.refresh()[0].TTL == 60, lease.id)
    check("a lease lists its keys", list(lease.keys) == [b"/py/leased"], list(lease.keys))
    lease.revoke()
    check("a revoked lease takes its key along", reader.get("/py/leased") == (None, None), reader.get("/py/leased"))

    events = queue.Queue()
    watch = reader.add_watch_callback("/py/short", events.put)
    short = writer.lease(ttl=2)
    writer.put("/py/short", "x", lease=short)
    seen = []
    while len(seen) < 2:
        seen.extend(events.get(timeout=WAIT_SECONDS).events)
    reader.cancel_watch(watch)
    check("an expired lease deletes its key", type(seen[-1]).__name__ == "DeleteEvent", seen)


if __name__ == "__main__":
    main(sys.argv[1])
