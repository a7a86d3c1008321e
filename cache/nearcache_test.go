package cache

import (
	"testing"
	"time"
)

// A near cache as redis-py's users write it, with a connection that hears of invalidations: while two writers change keys in
// many ways (and time, and eviction do), it never keeps what is wrong, once what was sent has come.
func TestNearCache(t *testing.T) {
	runPython(t, Config{Memory: 4 << 20, TTL: 50 * time.Millisecond}, nearCacheScript)
}

const nearCacheScript = `
import random, sys, threading, redis
port = int(sys.argv[1])
hears = redis.Redis(port=port, decode_responses=True, single_connection_client=True)
told = hears.pubsub()
told.execute_command("CLIENT", "ID")
where = told.connection.read_response()
told.subscribe("__redis__:invalidate", "all told")
assert [told.get_message(timeout=60)["type"] for i in range(2)] == ["subscribe"] * 2
reads = redis.Redis(port=port, decode_responses=True, single_connection_client=True)
assert reads.execute_command("CLIENT", "TRACKING", "ON", "REDIRECT", where) in ("OK", True)
near, hits, dropped = {}, 0, 0

def drain(timeout=0, end=None):
    global dropped
    while True:
        m = told.get_message(timeout=timeout)
        if m is None:
            assert end is None, "nothing comes"
            return
        if m["channel"] == "all told":
            if m["data"] == end: return
            continue
        dropped += 1
        if m["data"] is None: near.clear()
        else:
            for k in (m["data"] if isinstance(m["data"], list) else [m["data"]]): near.pop(k, None)

stop = threading.Event()
def write(seed):
    rng, w = random.Random(seed), redis.Redis(port=port, decode_responses=True)
    while not stop.is_set():
        k = "k%d" % rng.randrange(50)
        n = rng.randrange(9)
        if n < 4: w.set(k, rng.randrange(10**6), ex=100 if n else None)
        elif n == 4: w.delete(k)
        elif n == 5: w.append(k, "x")
        elif n == 6:
            with w.pipeline() as p: p.set(k, "t"); p.expire(k, 100); p.execute()
        elif n == 7:
            try: w.rename(k, "k%d" % rng.randrange(50))
            except redis.ResponseError: pass
        elif rng.randrange(20) == 0: w.flushall()
writers = [threading.Thread(target=write, args=(i,)) for i in range(2)]
for w in writers: w.start()
rng = random.Random(9)
for i in range(6000):
    drain()
    k = "k%d" % rng.randrange(50)
    if k in near: hits += 1
    else: near[k] = reads.get(k)
stop.set()
for w in writers: w.join()
check = redis.Redis(port=port, decode_responses=True)

def drain_all(n): # what comes after the message comes after all that was told before it
    assert check.publish("all told", n) == 1
    drain(60, str(n))

drain_all(0)
for n, (k, v) in enumerate(list(near.items()), 1):
    now = check.get(k)
    drain_all(n)
    assert k not in near or v == now, (k, v, now)
assert hits > 50 and dropped > 50, (hits, dropped)
print("fine")
`
