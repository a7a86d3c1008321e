package resp

import (
	"bytes"
	"fmt"
)

// Limits of a command.
type Limits struct {
	// Args it may have, and Bulk bytes each of them.
	Args, Bulk int
	// Stranger says that the client has not said who it is. The errors tell of that.
	Stranger bool
}

// The limits of commands that are one line, and of the lines that say a length, as in Redis.
const (
	MaxInline = 64 << 10
	maxLength = 64 << 10
)

// Stranger are the limits for those who have not said who they are.
var Stranger = Limits{Args: 10, Bulk: 16 << 10, Stranger: true}

// Error of a client that does not keep to the protocol. Its connection is closed.
type Error string

func (e Error) Error() string { return "Protocol error: " + string(e) }

// Parser of commands. The zero value is at the start of one.
type Parser struct {
	// Args of the command that Parse has found, until the next call.
	Args [][]byte

	spans []span
	begun bool
	left  int // arguments that are still to come
	bulk  int // length of the one that comes, -1: not known yet
	at    int // what was looked at
}

type span struct{ from, to int }

// Reset forgets what was parsed of a command.
func (p *Parser) Reset() { p.begun = false }

// Partial reports whether part of a command was parsed.
func (p *Parser) Partial() bool { return p.begun }

// Wants is how many bytes there must be, at least, for Parse to get further; 0: not known.
func (p *Parser) Wants() int {
	if p.begun && p.bulk >= 0 {
		return p.at + p.bulk + 2
	}
	return 0
}

// Parse parses the first command of b, and returns the bytes that it takes: 0 if it is not complete. b must then begin
// with the same bytes in the next call. A command without arguments is nothing, and has none.
func (p *Parser) Parse(b []byte, lim *Limits) (n int, err error) {
	if !p.begun {
		if len(b) == 0 {
			return 0, nil
		}
		if b[0] != '*' {
			return p.inline(b)
		}
		end, count, err := number(b, 1, "too big mbulk count string", "invalid multibulk length")
		if end == 0 {
			return 0, err
		}
		switch {
		case count > int64(lim.Args) && lim.Stranger:
			return 0, Error("unauthenticated multibulk length")
		case count > int64(lim.Args):
			return 0, Error("invalid multibulk length")
		case count <= 0:
			p.Args = p.Args[:0]
			return end, nil
		}
		p.begun, p.left, p.bulk, p.at, p.spans = true, int(count), -1, end, p.spans[:0]
	}
	for p.left > 0 {
		if ok, err := p.argument(b, lim); !ok {
			return 0, err
		}
	}
	p.begun = false
	p.Args = p.Args[:0]
	for _, s := range p.spans {
		p.Args = append(p.Args, b[s.from:s.to:s.to])
	}
	return p.at, nil
}

// argument parses one argument, if all of it is there.
func (p *Parser) argument(b []byte, lim *Limits) (bool, error) {
	if p.bulk < 0 {
		if p.at >= len(b) {
			return false, nil
		}
		if b[p.at] != '$' {
			return false, Error(fmt.Sprintf("expected '$', got '%c'", b[p.at]))
		}
		end, length, err := number(b, p.at+1, "too big bulk count string", "invalid bulk length")
		if end == 0 {
			return false, err
		}
		if length < 0 || length > int64(lim.Bulk) {
			if length >= 0 && lim.Stranger {
				return false, Error("unauthenticated bulk length")
			}
			return false, Error("invalid bulk length")
		}
		p.bulk, p.at = int(length), end
	}
	if len(b)-p.at < p.bulk+2 {
		return false, nil
	}
	p.spans = append(p.spans, span{p.at, p.at + p.bulk})
	p.at += p.bulk + 2
	p.bulk = -1
	p.left--
	return true, nil
}

// number parses a decimal number from at on, that ends with a line's end. end is what comes after: 0, and no error, where
// that is still to come.
func number(b []byte, at int, tooLong, wrong Error) (end int, n int64, err error) {
	// Most are of one or two digits.
	if len(b) >= at+4 && b[at] >= '0' && b[at] <= '9' {
		if b[at+1] == '\r' {
			return at + 3, int64(b[at] - '0'), nil
		}
		if b[at+2] == '\r' && b[at+1] >= '0' && b[at+1] <= '9' && b[at] != '0' {
			return at + 4, int64(b[at]-'0')*10 + int64(b[at+1]-'0'), nil
		}
	}
	i := bytes.IndexByte(b[at:], '\r')
	if i < 0 {
		if len(b)-at > maxLength {
			return 0, 0, tooLong
		}
		return 0, 0, nil
	}
	if len(b) < at+i+2 {
		return 0, 0, nil
	}
	n, ok := ParseInt(b[at : at+i])
	if !ok {
		return 0, 0, wrong
	}
	return at + i + 2, n, nil
}

// inline parses a command that is a line of words.
func (p *Parser) inline(b []byte) (int, error) {
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		if len(b) > MaxInline {
			return 0, Error("too big inline request")
		}
		return 0, nil
	}
	line := bytes.TrimSuffix(b[:end], []byte("\r"))
	args, ok := SplitArgs(line)
	if !ok {
		return 0, Error("unbalanced quotes in request")
	}
	p.Args = append(p.Args[:0], args...)
	return end + 1, nil
}

// ParseInt parses a decimal number as Redis does: no sign but a minus, no leading zeros, nothing around it.
func ParseInt(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	digits := b
	negative := b[0] == '-'
	if negative {
		digits = b[1:]
	}
	if len(digits) == 0 || digits[0] == '0' && len(b) > 1 {
		return 0, false
	}
	var u uint64
	for _, c := range digits {
		d := uint64(c - '0')
		if d > 9 || u > (1<<64-1-d)/10 {
			return 0, false
		}
		u = u*10 + d
	}
	if negative {
		return -int64(u), u <= 1<<63
	}
	return int64(u), u < 1<<63
}

// SplitArgs splits a line into words as a shell would: quotes keep spaces, and in double ones a backslash escapes. ok is
// false where a quote is not closed, or is closed within a word.
func SplitArgs(line []byte) (args [][]byte, ok bool) {
	for i := 0; ; {
		for i < len(line) && isSpace(line[i]) {
			i++
		}
		if i == len(line) {
			return args, true
		}
		var word []byte
		word, i, ok = splitWord(line, i)
		if !ok {
			return nil, false
		}
		args = append(args, word)
	}
}

func splitWord(line []byte, i int) (word []byte, end int, ok bool) {
	word = []byte{}
	for i < len(line) && !isSpace(line[i]) {
		quote := line[i]
		if quote != '"' && quote != '\'' {
			word = append(word, quote)
			i++
			continue
		}
		for i++; ; {
			if i >= len(line) {
				return nil, 0, false
			}
			c := line[i]
			if c == quote {
				i++
				break
			}
			if c == '\\' && i+1 < len(line) {
				c, i = unescape(line, i, quote)
			}
			word = append(word, c)
			i++
		}
		if i < len(line) && !isSpace(line[i]) {
			return nil, 0, false
		}
		return word, i, true
	}
	return word, i, true
}

// unescape returns what an escape at i means, and where it ends.
func unescape(line []byte, i int, quote byte) (byte, int) {
	next := line[i+1]
	if quote == '\'' {
		if next == '\'' {
			return next, i + 1
		}
		return '\\', i
	}
	if next == 'x' && i+3 < len(line) {
		high, low := unhex(line[i+2]), unhex(line[i+3])
		if high >= 0 && low >= 0 {
			return byte(high<<4 | low), i + 3
		}
	}
	if k := bytes.IndexByte([]byte("nrtba"), next); k >= 0 {
		return "\n\r\t\b\a"[k], i + 1
	}
	return next, i + 1
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' || c == 0 }
