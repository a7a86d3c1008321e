package cache

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/banyanhq/banyan/cache/keyspace"
	"github.com/banyanhq/banyan/cache/resp"
)

// call is a command that is being carried out, and its answer so far. A loop has one, for all.
type call struct {
	s    *Server
	c    *client
	db   *keyspace.DB
	cmd  *command
	args [][]byte
	out  []byte
	v3   bool // the answer is of version 3

	failed bool   // the answer is an error
	alone  bool   // nothing came before or behind it, of what was read
	after  []byte // what the client is sent behind the answer
	block  *waiting
}

// The texts of errors that many commands have.
const (
	errSyntax    = "ERR syntax error"
	errNotInt    = "ERR value is not an integer or out of range"
	errNotFloat  = "ERR value is not a valid float"
	errWrongType = "WRONGTYPE Operation against a key holding the wrong kind of value"
	errNoKey     = "ERR no such key"
	errOverflow  = "ERR increment or decrement would overflow"
	errRange     = "ERR index out of range"
	errPositive  = "ERR value is out of range, must be positive"
)

func (c *call) int(n int)                { c.out = resp.AppendInt(c.out, int64(n)) }
func (c *call) int64(n int64)            { c.out = resp.AppendInt(c.out, n) }
func (c *call) bulk(b []byte)            { c.out = resp.AppendBulk(c.out, b) }
func (c *call) text(s string)            { c.out = resp.AppendBulk(c.out, s) }
func (c *call) simple(s string)          { c.out = resp.AppendSimple(c.out, s) }
func (c *call) ok()                      { c.out = append(c.out, "+OK\r\n"...) }
func (c *call) null()                    { c.out = resp.AppendNull(c.out, c.v3) }
func (c *call) nullArray()               { c.out = resp.AppendNullArray(c.out, c.v3) }
func (c *call) array(n int)              { c.out = resp.AppendArray(c.out, n) }
func (c *call) mapOf(n int)              { c.out = resp.AppendMap(c.out, c.v3, n) }
func (c *call) setOf(n int)              { c.out = resp.AppendSet(c.out, c.v3, n) }
func (c *call) double(f float64)         { c.out = resp.AppendDouble(c.out, c.v3, f) }
func (c *call) wrongType()               { c.fail(errWrongType) }
func (c *call) syntax()                  { c.fail(errSyntax) }
func (c *call) bool(v bool)              { c.int(map[bool]int{true: 1}[v]) }
func (c *call) arg(i int) string         { return string(c.args[i]) }
func (c *call) failf(f string, a ...any) { c.fail(fmt.Sprintf(f, a...)) }

// fail answers with an error.
func (c *call) fail(s string) {
	c.failed = true
	c.out = resp.AppendError(c.out, s)
}

// texts answers with an array of strings.
func (c *call) texts(all []string) {
	c.array(len(all))
	for _, s := range all {
		c.text(s)
	}
}

// intArg parses an argument that is an integer; it answers with an error where that is none.
func (c *call) intArg(i int) (int64, bool) {
	n, ok := resp.ParseInt(c.args[i])
	if !ok {
		c.fail(errNotInt)
	}
	return n, ok
}

// floatArg parses an argument that is a number; it answers with the error where that is none.
func (c *call) floatArg(i int, otherwise string) (float64, bool) {
	f, ok := parseFloat(c.args[i])
	if !ok {
		c.fail(otherwise)
	}
	return f, ok
}

// parseFloat parses a number as strtod of C does, but for hexadecimal ones, and without NaN.
func parseFloat(b []byte) (float64, bool) {
	if len(b) == 0 || len(b) > 128 || b[0] == ' ' || strings.ContainsAny(string(b), "_xXpP") {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil && !strings.Contains(err.Error(), "range") || f != f {
		return 0, false
	}
	return f, true
}

// is reports whether an argument is a word, in letters of either case. word is in upper case.
func (c *call) is(i int, word string) bool { return i < len(c.args) && equalFold(c.args[i], word) }

// equalFold compares with a word in upper case.
func equalFold(b []byte, word string) bool {
	if len(b) != len(word) {
		return false
	}
	for i, ch := range b {
		if ch >= 'a' && ch <= 'z' {
			ch -= 'a' - 'A'
		}
		if ch != word[i] {
			return false
		}
	}
	return true
}

// get finds a string for a command that reads. It answers where the key holds something else.
func (c *call) get(key []byte) (e keyspace.Entry, there, ok bool) {
	e, there = c.db.Get(key)
	if there && e.Kind() != keyspace.String {
		c.wrongType()
		return e, there, false
	}
	return e, there, true
}
