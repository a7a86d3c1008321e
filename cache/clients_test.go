package cache

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Real clients against the server, each as its users use it. Those that are not installed are skipped.

func runClient(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(name, "is not installed")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

func portOf(t *testing.T, s *Server) string {
	t.Helper()
	_, port, err := net.SplitHostPort(s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestRedisCLI(t *testing.T) {
	s := startServer(t, Config{})
	port := portOf(t, s)
	cli := func(args ...string) string {
		t.Helper()
		return strings.TrimSpace(runClient(t, "redis-cli", append([]string{"-p", port}, args...)...))
	}
	if got := cli("-3", "hset", "h", "a", "1", "b", "2"); got != "2" {
		t.Error("hset: ", got)
	}
	if got := cli("-3", "hgetall", "h"); !strings.Contains(got, "a") || !strings.Contains(got, "2") {
		t.Error("hgetall: ", got)
	}
	for i := range 50 {
		cli2 := dial(t, s.Addr().String())
		cli2.do("set", fmt.Sprint("key:", i), strings.Repeat("v", i))
	}
	if got := cli("--scan", "--pattern", "key:*"); len(strings.Fields(got)) != 50 {
		t.Error("--scan found", len(strings.Fields(got)))
	}
	if got := cli("--bigkeys"); !strings.Contains(got, "Biggest string found") {
		t.Error("--bigkeys: ", got)
	}
	if got := cli("--memkeys"); !strings.Contains(got, "Biggest") {
		t.Error("--memkeys: ", got)
	}
	if got := cli("command", "count"); got == "0" {
		t.Error("command count: ", got)
	}
}

// All the tests of redis-benchmark, plain and pipelined, end without an error.
func TestRedisBenchmark(t *testing.T) {
	s := startServer(t, Config{})
	for _, pipeline := range []string{"1", "16"} {
		out := runClient(t, "redis-benchmark", "-p", portOf(t, s), "-n", "2000", "-c", "20", "-P", pipeline, "-r", "1000", "--csv")
		if n := strings.Count(out, "\n"); n < 15 || strings.Contains(out, "WARN") {
			t.Errorf("-P %s: %d lines\n%s", pipeline, n, out)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.count.byError) > 0 {
		t.Errorf("errors were answered: %v", s.count.byError)
	}
}

func TestPythonClient(t *testing.T) { runPython(t, Config{}, pythonScript) }

// runPython runs a script that uses redis-py against a server, whose port it is given, and wants it to print that all is fine.
func runPython(t *testing.T, cfg Config, script string) {
	t.Helper()
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import redis").Run(); err != nil {
		t.Skip("python3-redis is not installed")
	}
	s := startServer(t, cfg)
	file := filepath.Join(t.TempDir(), "client.py")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := runClient(t, python, file, portOf(t, s)); strings.TrimSpace(out) != "fine" {
		t.Error(out)
	}
}

const pythonScript = `
import sys, redis
r = redis.Redis(port=int(sys.argv[1]), decode_responses=True)
assert r.ping()
assert r.set("a", 1) and r.get("a") == "1" and r.set("a", 2, nx=True) is None
with r.pipeline() as p:
    p.incr("n"); p.incr("n", 5); p.expire("n", 100)
    assert p.execute() == [1, 6, True]
with r.pipeline() as p:
    p.watch("n")
    r.set("n", 1)
    p.multi(); p.incr("n")
    try:
        p.execute()
        raise AssertionError("a watched key changed, and it was carried out")
    except redis.WatchError:
        pass
assert r.hset("h", mapping={"x": 1, "y": 2}) == 2 and r.hgetall("h") == {"x": "1", "y": "2"}
assert r.zadd("z", {"a": 1, "b": 2.5}) == 2 and r.zrange("z", 0, -1, withscores=True) == [("a", 1.0), ("b", 2.5)]
assert r.sadd("s", "x", "y") == 2 and r.smembers("s") == {"x", "y"}
assert r.rpush("l", 1, 2, 3) == 3 and r.lrange("l", 0, -1) == ["1", "2", "3"] and r.blpop("l", 1) == ("l", "1")
for i in range(200): r.set("k%d" % i, i)
assert len(set(r.scan_iter("k*", count=50))) == 200
s = r.pubsub(); s.subscribe("c")
assert s.get_message(timeout=60)["type"] == "subscribe"
assert r.publish("c", "hello") == 1 and s.get_message(timeout=60)["data"] == "hello"
lock = r.lock
assert r.info()["redis_version"].startswith("7.") and int(r.config_get("maxmemory")["maxmemory"]) == 0
assert r.memory_usage("h") > 50 and r.object("encoding", "n") == "int"
try:
    r.incr("h")
    raise AssertionError("a hash was counted up")
except redis.ResponseError as e:
    assert "WRONGTYPE" in str(e)
print("fine")
`

func TestNodeClient(t *testing.T) {
	const modules = "/usr/share/nodejs" // Debian's
	t.Setenv("NODE_PATH", modules)
	if _, err := os.Stat(filepath.Join(modules, "redis")); err != nil {
		t.Skip("node-redis is not installed")
	}
	s := startServer(t, Config{})
	script := filepath.Join(t.TempDir(), "client.js")
	if err := os.WriteFile(script, []byte(nodeScript), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := runClient(t, "node", script, portOf(t, s)); strings.TrimSpace(out) != "fine" {
		t.Error(out)
	}
}

const nodeScript = `
const assert = require('assert');
const { createClient } = require('redis');
(async () => {
  const c = createClient({ url: 'redis://127.0.0.1:' + process.argv[2] });
  await c.connect();
  await c.set('a', '1', { EX: 100 });
  assert.equal(await c.get('a'), '1');
  const left = await c.ttl('a');
  assert(left > 40 && left <= 100, String(left));
  assert.deepEqual(await c.multi().incr('a').get('a').exec(), [2, '2']);
  await c.hSet('h', { x: '1', y: '2' });
  assert.deepEqual({ ...(await c.hGetAll('h')) }, { x: '1', y: '2' });
  await c.zAdd('z', [{ score: 1, value: 'a' }, { score: 2, value: 'b' }]);
  assert.deepEqual(await c.zRange('z', 0, -1), ['a', 'b']);
  const sub = c.duplicate();
  await sub.connect();
  const heard = new Promise((resolve) => sub.subscribe('c', resolve).then(() => c.publish('c', 'hello')));
  assert.equal(await heard, 'hello');
  await sub.quit();
  await c.quit();
  console.log('fine');
})().catch((e) => { console.error(e); process.exit(1); });
`

func TestGoClient(t *testing.T) {
	for _, protocol := range []int{2, 3} {
		t.Run(fmt.Sprint("version ", protocol), func(t *testing.T) { goClient(t, protocol) })
	}
}

func goClient(t *testing.T, protocol int) {
	s := startServer(t, Config{Password: "secret"})
	c := redis.NewClient(&redis.Options{Addr: s.Addr().String(), Password: "secret", Protocol: protocol, ClientName: "test", DialTimeout: time.Minute, ReadTimeout: time.Minute})
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	check("set", c.Set(ctx, "a", "1", time.Minute).Err())
	if v, err := c.Get(ctx, "a").Result(); err != nil || v != "1" {
		t.Errorf("get: %q, %v", v, err)
	}
	if _, err := c.Get(ctx, "none").Result(); !errors.Is(err, redis.Nil) {
		t.Errorf("get of nothing: %v", err)
	}
	cmds, err := c.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Incr(ctx, "a")
		p.HSet(ctx, "h", "x", 1, "y", 2)
		p.ZAdd(ctx, "z", redis.Z{Score: 2.5, Member: "m"})
		return nil
	})
	check("transaction", err)
	if n := cmds[0].(*redis.IntCmd).Val(); n != 2 {
		t.Errorf("incr in a transaction: %d", n)
	}
	if m, err := c.HGetAll(ctx, "h").Result(); err != nil || m["x"] != "1" || m["y"] != "2" {
		t.Errorf("hgetall: %v, %v", m, err)
	}
	if z, err := c.ZRangeWithScores(ctx, "z", 0, -1).Result(); err != nil || len(z) != 1 || z[0].Score != 2.5 {
		t.Errorf("zrange: %v, %v", z, err)
	}
	err = c.Watch(ctx, func(tx *redis.Tx) error {
		c.Set(ctx, "a", "changed", 0)
		_, err := tx.TxPipelined(ctx, func(p redis.Pipeliner) error { p.Set(ctx, "a", "mine", 0); return nil })
		return err
	}, "a")
	if !errors.Is(err, redis.TxFailedErr) {
		t.Errorf("a watched key changed: %v", err)
	}
	for i := range 300 {
		check("set", c.Set(ctx, fmt.Sprint("k", i), i, 0).Err())
	}
	seen := map[string]bool{}
	it := c.Scan(ctx, 0, "k*", 20).Iterator()
	for it.Next(ctx) {
		seen[it.Val()] = true
	}
	if check("scan", it.Err()); len(seen) != 300 {
		t.Errorf("scan found %d keys", len(seen))
	}
	sub := c.Subscribe(ctx, "news")
	defer sub.Close()
	_, err = sub.Receive(ctx)
	check("subscribe", err)
	check("publish", c.Publish(ctx, "news", "hello").Err())
	if m, err := sub.ReceiveMessage(ctx); err != nil || m.Payload != "hello" {
		t.Errorf("message: %v, %v", m, err)
	}
	go c.RPush(ctx, "queue", "job")
	if v, err := c.BLPop(ctx, 10*time.Second, "queue").Result(); err != nil || v[1] != "job" {
		t.Errorf("blpop: %v, %v", v, err)
	}
	if _, err := c.Command(ctx).Result(); err != nil {
		t.Errorf("command: %v", err)
	}
}
