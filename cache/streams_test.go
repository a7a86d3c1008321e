package cache

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Reads that wait get what comes, each of it once in a group, and learn it where nothing will.
func TestReadsOfStreamsThatWait(t *testing.T) {
	s := startServer(t, Config{})
	a, b, c := dial(t, s.Addr().String()), dial(t, s.Addr().String()), dial(t, s.Addr().String())
	a.doLine("xadd t 1-1 f v")
	expect := func(from *conn, want string) {
		t.Helper()
		if got := from.read(); got != want {
			t.Errorf("answered %s, want %s", got, want)
		}
	}
	b.send("xread", "block", "0", "streams", "t", "u", "$", "0")
	waitFor(t, func() bool { return blocked(s) == 1 })
	a.doLine("xadd t 1-2 f w")
	expect(b, `[["t" [["1-2" ["f" "w"]]]]]`)

	a.doLine("xgroup create t g $")
	for _, reader := range []*conn{b, c} {
		reader.send("xreadgroup", "group", "g", fmt.Sprint("reader", reader == b), "block", "0", "count", "1", "streams", "t", ">")
	}
	waitFor(t, func() bool { return blocked(s) == 2 })
	for _, line := range []string{"multi", "xadd t 2-1 f x", "xadd t 2-2 f y", "exec"} {
		a.doLine(line)
	}
	one, two := b.read(), c.read()
	if all := one + two; strings.Count(all, "2-1") != 1 || strings.Count(all, "2-2") != 1 {
		t.Errorf("two readers of a group got %s and %s", one, two)
	}
	if got := a.doLine("xpending t g"); got != `[2 "2-1" "2-2" [["readerfalse" "1"] ["readertrue" "1"]]]` {
		t.Errorf("pending: %s", got)
	}

	for _, end := range []struct{ line, want string }{
		{"xgroup destroy t g", "-NOGROUP the consumer group this client was blocked on no longer exists"},
		{"del t", "-UNBLOCKED the stream key no longer exists"},
		{"set t v", "-UNBLOCKED the stream key no longer exists"},
		{"flushall", "-UNBLOCKED the stream key no longer exists"},
		{"pexpire t 1", "-UNBLOCKED the stream key no longer exists"},
	} {
		a.doLine("del t")
		a.doLine("xgroup create t g 0 mkstream")
		b.send("xreadgroup", "group", "g", "one", "block", "0", "streams", "t", ">")
		waitFor(t, func() bool { return blocked(s) == 1 })
		a.doLine(end.line)
		if end.line == "pexpire t 1" { // whoever comes next finds that the time is up, or the sweep does
			for deadline := time.Now().Add(20 * time.Second); a.doLine("exists t") == "1"; {
				if time.Now().After(deadline) {
					t.Fatal("the key does not expire")
				}
			}
		}
		expect(b, end.want)
	}
	b.send("xread", "block", "0", "streams", "t", "$") // of one that waits without a group
	waitFor(t, func() bool { return blocked(s) == 1 })
	a.doLine("del t")
	a.doLine("lpush t v")
	a.doLine("del t")
	a.doLine("xadd t 9-1 f v")
	expect(b, `[["t" [["9-1" ["f" "v"]]]]]`)
	if got := b.doLine("xread block 5 streams t $"); got != "nil*" {
		t.Errorf("a read that waited in vain: %s", got)
	}
}

// A go-redis client works with groups as its documentation says.
func TestStreamsOfGoRedis(t *testing.T) {
	s := startServer(t, Config{})
	c := redis.NewClient(&redis.Options{Addr: s.Addr().String(), DialTimeout: time.Minute, ReadTimeout: time.Minute})
	defer c.Close()
	ctx := t.Context()
	id, err := c.XAdd(ctx, &redis.XAddArgs{Stream: "orders", Values: []string{"id", "17"}}).Result()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.XGroupCreateMkStream(ctx, "orders", "mail", "0").Err(); err != nil {
		t.Fatal(err)
	}
	read := func(from string) ([]redis.XStream, error) {
		return c.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "mail", Consumer: "one", Streams: []string{"orders", from}, Block: 10 * time.Millisecond}).Result()
	}
	got, err := read(">")
	if err != nil || len(got) != 1 || len(got[0].Messages) != 1 || got[0].Messages[0].ID != id || got[0].Messages[0].Values["id"] != "17" {
		t.Fatal(got, err)
	}
	if got, err := read(">"); !errors.Is(err, redis.Nil) {
		t.Error("a second time: ", got, err)
	}
	if got, err := read("0"); err != nil || len(got[0].Messages) != 1 {
		t.Error("the history: ", got, err)
	}
	claimed, next, err := c.XAutoClaim(ctx, &redis.XAutoClaimArgs{Stream: "orders", Group: "mail", Consumer: "two", Start: "0"}).Result()
	if err != nil || next != "0-0" || len(claimed) != 1 {
		t.Error("claimed: ", claimed, next, err)
	}
	if n, err := c.XAck(ctx, "orders", "mail", id).Result(); err != nil || n != 1 {
		t.Error("acknowledged: ", n, err)
	}
	if info, err := c.XInfoStreamFull(ctx, "orders", 5).Result(); err != nil || info.Length != 1 || len(info.Groups) != 1 || len(info.Groups[0].Consumers) != 2 {
		t.Error(info, err)
	}
	if groups, err := c.XInfoGroups(ctx, "orders").Result(); err != nil || groups[0].Lag != 0 || groups[0].Pending != 0 {
		t.Error(groups, err)
	}
}

// Streams keep to the budget: entries that are trimmed give their memory back, and writes are refused beyond it.
func TestStreamsCountInTheBudget(t *testing.T) {
	s := startServer(t, Config{Memory: 4 << 20, Eviction: "noeviction"})
	c := dial(t, s.Addr().String())
	value := strings.Repeat("v", 1000)
	added, got := 0, ""
	for ; added < 10_000; added++ {
		if got = c.do("xadd", "t", "*", "f", value); strings.HasPrefix(got, "-") {
			break
		}
	}
	if !strings.HasPrefix(got, "-OOM") || added < 2500 {
		t.Fatalf("after %d entries of 1000 bytes in 4 MiB: %s", added, got)
	}
	if got := c.doLine("xtrim t maxlen 10"); got != fmt.Sprint(added-10) {
		t.Fatal(got)
	}
	if got := c.do("xadd", "t", "*", "f", value); strings.HasPrefix(got, "-") {
		t.Error(got)
	}
}
