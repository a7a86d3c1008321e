package cache

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// script runs lines of "client: command", with what is answered on lines that begin with "> " (none: not looked at), and
// "client>" for a client that reads something it was sent. Words are split at spaces; the first use of a name connects it.
func script(t *testing.T, addr, text string) {
	t.Helper()
	clients := map[string]*conn{}
	client := func(name string) *conn {
		if clients[name] == nil {
			clients[name] = dial(t, addr)
		}
		return clients[name]
	}
	var got string
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		line = strings.TrimSpace(line)
		switch name, command, _ := strings.Cut(line, ": "); {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "> "):
			want := line[2:]
			if seconds, ok := strings.CutPrefix(want, "about "); ok && isLeft(got, seconds) {
				continue
			}
			if strings.TrimSpace(got) != want {
				t.Fatalf("line %d: answered %s, want %s", i+1, got, want)
			}
		case strings.HasSuffix(line, ">"):
			got = client(strings.TrimSuffix(line, ">")).read()
		case strings.HasPrefix(command, "~"): // sent, and not answered yet
			client(name).send(strings.Fields(command[1:])...)
		default:
			got = client(name).doLine(command)
		}
	}
}

// isLeft reports whether an answer says what is left of so many seconds a moment after they began, on a busy machine.
func isLeft(answer, seconds string) bool {
	got, err1 := strconv.Atoi(strings.TrimSpace(answer))
	all, err2 := strconv.Atoi(seconds)
	return err1 == nil && err2 == nil && got <= all && got > 0 && got >= all-60
}

func TestTransactions(t *testing.T) {
	s := startServer(t, Config{})
	script(t, s.Addr().String(), `
		a: set x 1
		a: watch x
		a: multi
		a: incr x
		> QUEUED
		b: set x 5
		a: exec
		> nil*
		a: watch x
		a: multi
		a: incr x
		a: lpush x 1
		a: get x
		a: exec
		> [6 -WRONGTYPE Operation against a key holding the wrong kind of value "6"]
		a: multi
		a: nosuch
		> -ERR unknown command 'nosuch', with args beginning with: 
		a: exec
		> -EXECABORT Transaction discarded because of previous errors.
		a: multi
		a: blpop empty 0
		> QUEUED
		a: select 3
		a: set y 1
		a: exec
		> [nil* OK OK]
		a: get y
		> "1"
		# A key that expires breaks what watches it.
		a: select 0
		a: set z 1 px 1
		a: watch z
		b: ping
	`)
	script(t, s.Addr().String(), `
		a: set gone 1
		a: watch gone
		b: flushall
		a: multi
		a: ping
		a: exec
		> nil*
	`)
}

func TestWaiting(t *testing.T) {
	s := startServer(t, Config{})
	script(t, s.Addr().String(), `
		a: client id
		a: ~blpop q 0
		b: ping
		c: ~brpop q other 0
		d: ~bzpopmin z 0
		b: info clients
	`)
	// First come, first served; and what comes by a transaction is seen when that is done.
	addr := s.Addr().String()
	a, c, d, b := dial(t, addr), dial(t, addr), dial(t, addr), dial(t, addr)
	a.send("blpop", "q2", "0")
	waitFor(t, func() bool { return blocked(s) >= 1 })
	c.send("brpop", "q2", "other", "0")
	waitFor(t, func() bool { return blocked(s) >= 2 })
	d.send("blmove", "q3", "q4", "left", "right", "0")
	waitFor(t, func() bool { return blocked(s) >= 3 })
	b.do("multi")
	b.do("rpush", "q2", "1", "2", "3")
	b.do("del", "q2")
	b.do("rpush", "q2", "4", "5", "6")
	if got := b.do("exec"); got != "[3 1 3]" {
		t.Error("exec answered", got)
	}
	if got := a.read(); got != `["q2" "4"]` {
		t.Error("the first got", got)
	}
	if got := c.read(); got != `["q2" "6"]` {
		t.Error("the second got", got)
	}
	b.do("lpush", "q3", "x")
	if got := d.read(); got != `"x"` {
		t.Error("the third got", got)
	}
	if got := b.do("lrange", "q4", "0", "-1"); got != `["x"]` {
		t.Error("moved to", got)
	}
	// Commands sent behind one that waits are carried out when it is answered.
	a.send("blpop", "q5", "0")
	a.send("ping")
	waitFor(t, func() bool { return blocked(s) >= 1 })
	b.do("lpush", "q5", "y")
	if got := a.read() + a.read(); got != `["q5" "y"]PONG` {
		t.Error("answered", got)
	}
	if got := a.do("blpop", "nothing", "0.02"); got != "nil*" {
		t.Error("a wait that is over answered", got)
	}
}

func blocked(s *Server) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clients {
		if c.blocked != nil {
			n++
		}
	}
	return n
}

func waitFor(t *testing.T, true func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !true(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come to that")
		}
	}
}

func TestPubSub(t *testing.T) {
	s := startServer(t, Config{})
	script(t, s.Addr().String(), `
		a: subscribe news
		> ["subscribe" "news" 1]
		a: psubscribe n*
		> ["psubscribe" "n*" 2]
		b: publish news hello
		> 2
		a>
		> ["message" "news" "hello"]
		a>
		> ["pmessage" "n*" "news" "hello"]
		a: get x
		> -ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context
		a: ping
		> ["pong" ""]
		b: pubsub numsub news
		> ["news" 1]
		a: unsubscribe news
		> ["unsubscribe" "news" 1]
		a: punsubscribe
		> ["punsubscribe" "n*" 0]
		a: get x
		> nil
		# Version 3 may go on, and hears what it published itself first.
		c: hello 3
		c: subscribe news
		> <"subscribe" "news" 1>
		c: publish news again
		> <"message" "news" "again">
		c>
		> 1
		# Events of keys.
		b: config set notify-keyspace-events KEA
		> OK
		d: psubscribe __key*__:*
		b: set k v
		d>
		> ["pmessage" "__key*__:*" "__keyspace@0__:k" "set"]
		d>
		> ["pmessage" "__key*__:*" "__keyevent@0__:set" "k"]
		b: lpush l 1
		d>
		d>
		> ["pmessage" "__key*__:*" "__keyevent@0__:lpush" "l"]
		b: lpop l
		d>
		d>
		> ["pmessage" "__key*__:*" "__keyevent@0__:lpop" "l"]
		d>
		d>
		> ["pmessage" "__key*__:*" "__keyevent@0__:del" "l"]
		b: set soon x px 20
		d>
		d>
		d>
		d>
		> ["pmessage" "__key*__:*" "__keyevent@0__:expire" "soon"]
		d>
		> ["pmessage" "__key*__:*" "__keyspace@0__:soon" "expired"]
	`)
}

func TestTracking(t *testing.T) {
	s := startServer(t, Config{})
	script(t, s.Addr().String(), `
		a: hello 3
		a: client tracking on
		> OK
		b: set x 1
		a: get x
		> "1"
		b: set x 2
		a>
		> <"invalidate" ["x"]>
		# Once told, it is not told again until it has read the key again.
		b: set x 3
		a: get x
		> "3"
		# What it changes itself it hears of behind the answer.
		a: set x 4
		> OK
		a>
		> <"invalidate" ["x"]>
		a: get x
		b: flushall
		a>
		> <"invalidate" nil>
		c: hello 3
		c: client tracking on bcast prefix user: noloop
		b: set other 1
		b: set user:1 1
		c>
		> <"invalidate" ["user:1"]>
		c: set user:2 1
		> OK
		c: ping
		> PONG
		d: hello 3
		d: client tracking on optin
		d: get x
		d: client caching yes
		> OK
		d: get y
		b: set x 9
		b: set y 9
		d>
		> <"invalidate" ["y"]>
		d: client trackinginfo
		> {"flags" ("on" "optin") "redirect" 0 "prefixes" ()}
	`)
}

func TestACL(t *testing.T) {
	s := startServer(t, Config{Password: "secret"})
	script(t, s.Addr().String(), `
		a: get x
		> -NOAUTH Authentication required.
		a: auth wrong
		> -WRONGPASS invalid username-password pair or user is disabled.
		a: auth secret
		> OK
		a: acl setuser reader on >pw ~user:* %R~shared:* +@read +ping +client &chan*
		> OK
		a: acl setuser reader +nosuch
		> -ERR Error in ACL SETUSER modifier '+nosuch': Unknown command or category name in ACL
		a: set user:1 v
		b: hello 3 auth reader pw
		b: get user:1
		> "v"
		b: get other
		> -NOPERM this user has no permissions to access one of the keys used as arguments
		b: mget user:1 other
		> -NOPERM this user has no permissions to access one of the keys used as arguments
		b: set user:1 w
		> -NOPERM this user has no permissions to run the 'set' command
		b: get shared:1
		> nil
		a: acl setuser reader +set
		b: set user:1 w
		> OK
		b: set shared:1 w
		> -NOPERM this user has no permissions to access one of the keys used as arguments
		b: config get maxmemory
		> -NOPERM this user has no permissions to run the 'config|get' command
		a: acl whoami
		> "default"
		a: acl dryrun reader get other
		> "This user has no permissions to access the 'other' key"
		a: acl list
		a: acl deluser reader
		> 1
	`)
}

// Bad input ends the one connection with Redis's own words, and nothing else.
func TestBadInput(t *testing.T) {
	s := startServer(t, Config{})
	for name, c := range map[string]struct{ send, want string }{
		"a length that is none":       {"*1\r\n$x\r\n", "-ERR Protocol error: invalid bulk length\r\n"},
		"a count that is none":        {"*x\r\n", "-ERR Protocol error: invalid multibulk length\r\n"},
		"a count beyond all":          {"*99999999999\r\n", "-ERR Protocol error: invalid multibulk length\r\n"},
		"a count that is too large":   {"*1048577\r\n", "-ERR Protocol error: invalid multibulk length\r\n"},
		"a string that is too long":   {"*2\r\n$3\r\nGET\r\n$536870913\r\n", "-ERR Protocol error: invalid bulk length\r\n"},
		"a negative length":           {"*2\r\n$3\r\nGET\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length\r\n"},
		"nested":                      {"*1\r\n*1\r\n", "-ERR Protocol error: expected '$', got '*'\r\n"},
		"quotes that are not closed":  {"SET \"a b\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"},
		"a line without end":          {strings.Repeat("x", 70_000), "-ERR Protocol error: too big inline request\r\n"},
		"a length without end":        {"*2\r\n$3\r\nGET\r\n$" + strings.Repeat("1", 70_000), "-ERR Protocol error: too big bulk count string\r\n"},
		"commands before bad input":   {"PING\r\n*x\r\n", "+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n"},
		"inline, and nothing":         {"\r\n  \r\n*0\r\nset 'a b' \"\\x41\"\r\nget 'a b'\r\nQUIT\r\n", "+OK\r\n$1\r\nA\r\n+OK\r\n"},
		"a command of the wrong case": {"*1\r\n$4\r\nQuIt\r\n", "+OK\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c0 := dial(t, s.Addr().String())
			if _, err := io.WriteString(c0, c.send); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(c0.r)
			if err != nil && !strings.Contains(err.Error(), "reset") {
				t.Fatal(err)
			}
			if string(got) != c.want {
				t.Errorf("answered %.200q, want %q", got, c.want)
			}
		})
	}
	if got := dial(t, s.Addr().String()).do("ping"); got != "PONG" {
		t.Error("afterwards ping is answered", got)
	}
}

// Strangers get no room to announce large things in.
func TestStrangersAreBounded(t *testing.T) {
	s := startServer(t, Config{Password: "secret"})
	for send, want := range map[string]string{
		"*11\r\n":                        "-ERR Protocol error: unauthenticated multibulk length\r\n",
		"*2\r\n$4\r\nAUTH\r\n$16385\r\n": "-ERR Protocol error: unauthenticated bulk length\r\n",
	} {
		c := dial(t, s.Addr().String())
		if _, err := io.WriteString(c, send); err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(c.r); string(got) != want {
			t.Errorf("%q is answered %q, want %q", send, got, want)
		}
	}
}

// Lengths that are only announced cost no memory, half commands are kept, and a command may come a byte at a time.
func TestHalfCommands(t *testing.T) {
	s := startServer(t, Config{})
	before := residentKiB(t)
	var idle []*conn
	for range 200 {
		c := dial(t, s.Addr().String())
		if _, err := io.WriteString(c, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500000000\r\nabc"); err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	slow := dial(t, s.Addr().String())
	for _, b := range []byte("*3\r\n$3\r\nSET\r\n$4\r\nslow\r\n$5\r\nvalue\r\n*2\r\n$3\r\nGET\r\n$4\r\nslow\r\n") {
		if _, err := slow.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	if got := slow.read() + slow.read(); got != `OK"value"` {
		t.Error("a command that came a byte at a time was answered", got)
	}
	if grew := residentKiB(t) - before; grew > 64<<10 {
		t.Errorf("200 lengths that were announced took %d KiB", grew)
	}
	large := strings.Repeat("x", 5<<20)
	if got := slow.do("set", "large", large); got != "OK" {
		t.Error("a large value is answered", got)
	}
	if got := slow.do("get", "large"); got != `"`+large+`"` {
		t.Error("a large value comes back with another length:", len(got))
	}
	_ = idle
}

func residentKiB(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("no /proc here")
	}
	var size, resident int
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		t.Fatal(err)
	}
	return resident * os.Getpagesize() / 1024
}

// Commands with very many keys, and patterns that are made for it, hold nobody up; a transaction may not grow for ever.
func TestNobodyIsHeldUp(t *testing.T) {
	s := startServer(t, Config{})
	c := dial(t, s.Addr().String())
	keys := make([]string, 150_000)
	for i := range keys {
		keys[i] = fmt.Sprint("k", i)
	}
	if got := c.do(append([]string{"watch"}, keys...)...); got != "OK" {
		t.Error("WATCH:", got)
	}
	c.doLine("unwatch")
	if got := c.do(append(append([]string{"blpop"}, keys...), "0.001")...); got != "nil*" {
		t.Error("BLPOP:", got)
	}
	name := strings.Repeat("a", 1<<22)
	c.do("set", name, "v")
	if got := c.do("keys", "*"+name[:1<<21]+"b"); got != "[]" {
		t.Errorf("KEYS: %.100s", got)
	}
	if got := c.do("keys", "*"+name[:1]); got != `["`+name+`"]` {
		t.Errorf("KEYS of a pattern that matches: %.100s", got)
	}
	c.doLine("config set client-query-buffer-limit 1mb")
	c.doLine("multi")
	value := strings.Repeat("v", 10_000)
	for range 200 { // until it is closed
		if _, err := fmt.Fprintf(c, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%s\r\n", len(value), value); err != nil {
			break
		}
	}
	got, _ := io.ReadAll(c.r)
	if n := strings.Count(string(got), "+QUEUED"); n > 110 {
		t.Errorf("%d commands were queued before the client was closed", n)
	}
}

// A client that asks for more than it reads is not carried out further; a subscriber that does not read is closed.
func TestSlowReaders(t *testing.T) {
	s := startServer(t, Config{})
	ok := dial(t, s.Addr().String())
	ok.do("set", "large", strings.Repeat("x", 1<<20))
	slow := dial(t, s.Addr().String())
	go func() { // blocks as soon as the server does not read any more
		for range 200 {
			if _, err := io.WriteString(slow, "*2\r\n$3\r\nGET\r\n$5\r\nlarge\r\n"); err != nil {
				return
			}
		}
	}()
	waitFor(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.count.out > 1<<20
	})
	if got := ok.do("ping"); got != "PONG" {
		t.Error("beside a slow reader ping is answered", got)
	}
	s.mu.Lock()
	sent := s.count.out
	s.mu.Unlock()
	if sent > 64<<20 {
		t.Errorf("%d bytes were made for a client that reads nothing", sent)
	}
	for range 200 { // and when it reads, it gets all of it
		a, err := readAnswer(slow.r)
		if err != nil || len(a.text) != 1<<20 {
			t.Fatalf("answered %d bytes: %v", len(a.text), err)
		}
	}

	sub := dial(t, s.Addr().String())
	sub.do("subscribe", "c")
	ok.do("config", "set", "client-output-buffer-limit", "pubsub 1mb 0 0")
	message := strings.Repeat("m", 100_000)
	waitFor(t, func() bool { return ok.do("publish", "c", message) == "0" })
}

// Many idle connections cost little, and one more than there may be is told so.
func TestManyClients(t *testing.T) {
	if testing.Short() {
		t.Skip("opens thousands of connections")
	}
	const n = 2000
	s := startServer(t, Config{MaxClients: n})
	for range n {
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Skip("this machine gives out no more connections: ", err)
		}
		t.Cleanup(func() { c.Close() })
	}
	waitFor(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.clients) == n
	})
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if line, _ := bufio.NewReader(c).ReadString('\n'); line != "-ERR max number of clients reached\r\n" {
		t.Errorf("one too many is told %q", line)
	}
}

// Memory is kept within its budget, and without eviction there is an error.
func TestMemoryLimit(t *testing.T) {
	s := startServer(t, Config{Memory: 4 << 20, Eviction: "noeviction"})
	c := dial(t, s.Addr().String())
	value, full := strings.Repeat("v", 10_000), false
	for i := range 1000 {
		if got := c.do("set", fmt.Sprint("k", i), value); got != "OK" {
			if got != "-OOM command not allowed when used memory > 'maxmemory'." {
				t.Fatal("answered", got)
			}
			full = true
			break
		}
	}
	if !full {
		t.Error("10 MB went into 4 MiB")
	}
	if got := c.do("get", "k0"); got != `"`+value+`"` {
		t.Error("what is there can be read:", len(got))
	}
	if got := c.do("config", "set", "maxmemory-policy", "allkeys-lru"); got != "OK" {
		t.Fatal(got)
	}
	for i := range 2000 {
		if got := c.do("set", fmt.Sprint("new", i), value); got != "OK" {
			t.Fatal("with eviction it is answered", got)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.store.Used() > 4<<20 || s.store.Evicted == 0 {
		t.Errorf("%d bytes are used, %d keys were evicted", s.store.Used(), s.store.Evicted)
	}
}

// Keys that nobody asks for go when they have expired.
func TestKeysExpireByThemselves(t *testing.T) {
	s := startServer(t, Config{TTL: 30 * time.Millisecond})
	c := dial(t, s.Addr().String())
	for i := range 3000 {
		c.do("set", fmt.Sprint("k", i), "v")
	}
	c.do("set", "stays", "v", "ex", "100")
	waitFor(t, func() bool { return c.do("dbsize") == "1" })
	if got := c.do("ttl", "stays"); !isLeft(got, "100") {
		t.Error("an expiry of one's own is", got)
	}
}
