package cache

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// startServer runs a server until the test ends.
func startServer(t testing.TB, cfg Config) *Server {
	t.Helper()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.Loops == 0 {
		cfg.Loops = 2
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error("server:", err)
		}
	})
	return s
}

// conn is a client of the tests, which knows nothing of package resp.
type conn struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func dial(t testing.TB, addr string) *conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c = patient{c}
	return &conn{t, c, bufio.NewReader(c)}
}

// patient waits a minute for each answer, however long all of them take.
type patient struct{ net.Conn }

func (c patient) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

func (c patient) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *conn) send(args ...string) {
	c.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(c, b.String()); err != nil {
		c.t.Fatal(err)
	}
}

// do sends a command and returns its answer as text: see read.
func (c *conn) do(args ...string) string {
	c.t.Helper()
	c.send(args...)
	return c.read()
}

// doLine is do for words without spaces.
func (c *conn) doLine(line string) string { c.t.Helper(); return c.do(strings.Fields(line)...) }

// doText is doLine for a command that answers with text.
func (c *conn) doText(line string) string {
	c.t.Helper()
	c.send(strings.Fields(line)...)
	v, err := readAnswer(c.r)
	if err != nil {
		c.t.Fatal("reading an answer: ", err)
	}
	return v.text
}

func (c *conn) read() string {
	c.t.Helper()
	v, err := readAnswer(c.r)
	if err != nil {
		c.t.Fatal("reading an answer: ", err)
	}
	return v.String()
}

// answer is what a server answered.
type answer struct {
	kind byte
	text string
	all  []answer
	none bool
}

// String writes an answer in one line: simple strings and numbers as they are, strings in quotes, arrays in brackets.
func (a answer) String() string {
	switch a.kind {
	case '*', '~', '>', '%':
		if a.none {
			return "nil*"
		}
		var b strings.Builder
		for i, v := range a.all {
			if i > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(v.String())
		}
		brackets := map[byte]string{'*': "[]", '~': "()", '>': "<>", '%': "{}"}[a.kind]
		return brackets[:1] + b.String() + brackets[1:]
	case '$', '=':
		if a.none {
			return "nil"
		}
		return strconv.Quote(a.text)
	case '_':
		return "nil"
	}
	return a.text
}

func readAnswer(r *bufio.Reader) (a answer, err error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return a, err
	}
	line = strings.TrimSuffix(line, "\r\n")
	a.kind = line[0]
	switch a.kind {
	case '-':
		a.text = line
		return a, nil
	case '+', ':', ',', '#', '(', '_':
		a.text = line[1:]
		return a, nil
	case '$', '=', '*', '~', '>', '%':
	default:
		return a, fmt.Errorf("an answer begins with %q", line)
	}
	n, err := strconv.Atoi(line[1:])
	if err != nil {
		return a, err
	}
	if n < 0 {
		a.none = true
		return a, nil
	}
	if a.kind == '$' || a.kind == '=' {
		b := make([]byte, n+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return a, err
		}
		if string(b[n:]) != "\r\n" {
			return a, errors.New("a string does not end where it should")
		}
		a.text = string(b[:n])
		return a, nil
	}
	if a.kind == '%' {
		n *= 2
	}
	for range n {
		v, err := readAnswer(r)
		if err != nil {
			return a, err
		}
		a.all = append(a.all, v)
	}
	return a, nil
}
