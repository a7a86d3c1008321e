package load

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// redisCall is one or several commands in the Redis serialization protocol, sent together.
type redisCall struct {
	commands [][]template // of words
}

var _ call = (*redisCall)(nil)

// compileRedis reads commands as a shell would: words with spaces between them, and quotes around those that have some.
func compileRedis(commands []string, sc *scope) (*redisCall, error) {
	c := &redisCall{}
	for _, text := range commands {
		words, err := splitWords(text)
		if err != nil {
			return nil, fmt.Errorf("command %.80q: %w", text, err)
		}
		if len(words) == 0 {
			return nil, fmt.Errorf("an empty command")
		}
		switch strings.ToUpper(words[0]) {
		case "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "MONITOR", "SYNC", "PSYNC", "QUIT":
			return nil, fmt.Errorf("command %s: it has no single answer", words[0])
		}
		var command []template
		for _, w := range words {
			t, err := sc.parse(w, always(escapeNone))
			if err != nil {
				return nil, fmt.Errorf("command: %w", err)
			}
			command = append(command, t)
		}
		c.commands = append(c.commands, command)
	}
	return c, nil
}

// splitWords splits text at spaces outside of quotes. In double quotes \n, \r, \t, \\ and \" stand for themselves.
func splitWords(text string) (words []string, err error) {
	var word strings.Builder
	inWord, quote := false, byte(0)
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote == '"' && c == '\\' && i+1 < len(text):
			i++
			switch text[i] {
			case 'n':
				word.WriteByte('\n')
			case 'r':
				word.WriteByte('\r')
			case 't':
				word.WriteByte('\t')
			default:
				word.WriteByte(text[i])
			}
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, inWord = c, true
		case quote == 0 && (c == ' ' || c == '\t' || c == '\n'):
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a quote is not closed")
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

func (c *redisCall) build(dst []byte, v *values) ([]byte, bool) {
	var scratch [256]byte
	for _, command := range c.commands {
		dst = append(dst, '*')
		dst = strconv.AppendInt(dst, int64(len(command)), 10)
		dst = append(dst, "\r\n"...)
		for _, word := range command {
			text, ok := word.append(scratch[:0], v)
			if !ok {
				return dst, false
			}
			dst = append(dst, '$')
			dst = strconv.AppendInt(dst, int64(len(text)), 10)
			dst = append(dst, "\r\n"...)
			dst = append(dst, text...)
			dst = append(dst, "\r\n"...)
		}
	}
	return dst, true
}

// redisCaller speaks RESP 2, and understands the types of RESP 3.
type redisCaller struct {
	target *target
	dialogue
}

func (c *redisCaller) close() { c.dialogue.close(c.target.to) }

// do sends the commands and reads an answer to each. The body is the text of the answers, each on a line of its own, those
// of an array too. The first error answer fails the step; all are read.
func (c *redisCaller) do(ctx context.Context, x *exchange) error {
	if err := c.open(ctx, c.target.to, x, func() error { return c.login(x) }); err != nil {
		return err
	}
	before := c.reader.total
	failure, err := c.converse(x, x.request, len(x.call.(*redisCall).commands))
	x.bytesIn += c.reader.total - before
	if err != nil {
		c.close()
		return err
	}
	if failure != nil {
		return failure
	}
	return nil
}

// login authenticates and chooses the database where the address says so.
func (c *redisCaller) login(x *exchange) error {
	user := c.target.user
	if user == nil {
		return nil
	}
	password, ok := user.Password()
	if !ok {
		return nil
	}
	words := []string{"AUTH", password}
	if name := user.Username(); name != "" {
		words = []string{"AUTH", name, password}
	}
	request := fmt.Appendf(nil, "*%d\r\n", len(words))
	for _, w := range words {
		request = fmt.Appendf(request, "$%d\r\n%s\r\n", len(w), w)
	}
	failure, err := c.converse(x, request, 1)
	x.body = x.body[:0]
	if err == nil && failure != nil {
		err = failure
	}
	return err
}

func (c *redisCaller) converse(x *exchange, request []byte, answers int) (failure *failed, err error) {
	if _, err := c.nc.Write(request); err != nil {
		return nil, err
	}
	elements := 0
	for range answers {
		f, err := c.value(x, 0, &elements)
		if err != nil {
			return nil, err
		}
		if failure == nil {
			failure = f
		}
	}
	return failure, nil
}

// Bounds of an answer: it comes from outside.
const (
	maxRESPDepth    = 16
	maxRESPElements = 1 << 20
	maxRESPLine     = 64 << 10
)

// value reads one value, with those in it. Attributes and pushes before it are passed over.
func (c *redisCaller) value(x *exchange, depth int, elements *int) (*failed, error) {
	for {
		f, beside, err := c.one(x, depth, elements)
		if err != nil || !beside {
			return f, err
		}
	}
}

// one reads one value; beside says that it is an attribute or a push, and not the answer.
func (c *redisCaller) one(x *exchange, depth int, elements *int) (failure *failed, beside bool, err error) {
	if *elements++; depth > maxRESPDepth || *elements > maxRESPElements {
		return nil, false, malformed("more than %d levels or %d elements", maxRESPDepth, maxRESPElements)
	}
	line, err := c.line(maxRESPLine)
	if err != nil {
		return nil, false, err
	}
	if len(line) == 0 {
		return nil, false, malformed("an empty line where a value begins")
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '+', ':', ',', '(', '#':
		c.text(x, rest)
		return nil, false, nil
	case '_':
		c.text(x, nil)
		return nil, false, nil
	case '-':
		return redisError(string(rest)), false, nil
	case '$', '=', '!':
		n, err := strconv.ParseInt(string(rest), 10, 64)
		if err != nil || n < -1 {
			return nil, false, malformed("length %.40q", rest)
		}
		if n < 0 {
			c.text(x, nil)
			return nil, false, nil
		}
		start := len(x.body)
		capture := x.capture
		x.capture = capture || kind == '!'
		err = c.exactly(x, n)
		x.capture = capture
		if err != nil {
			return nil, false, err
		}
		if end, err := c.line(2); err != nil {
			return nil, false, err
		} else if len(end) != 0 {
			return nil, false, malformed("a string longer than its length")
		}
		if kind == '!' {
			text := string(x.body[start:])
			x.body = x.body[:start]
			return redisError(text), false, nil
		}
		c.text(x, nil)
		return nil, false, nil
	case '*', '~', '>', '%', '|':
		n, err := strconv.ParseInt(string(rest), 10, 64)
		if err != nil || n < -1 || n > maxRESPElements {
			return nil, false, malformed("number of elements %.40q", rest)
		}
		if kind == '%' || kind == '|' {
			n *= 2
		}
		for range max(n, 0) {
			f, err := c.value(x, depth+1, elements)
			if err != nil {
				return nil, false, err
			}
			if failure == nil {
				failure = f
			}
		}
		if kind == '|' || kind == '>' && depth == 0 {
			return nil, true, nil
		}
		return failure, false, nil
	}
	return nil, false, malformed("a value that begins with %q", kind)
}

// text adds to what is looked at, and ends its line.
func (c *redisCaller) text(x *exchange, text []byte) {
	if x.capture && len(x.body)+len(text) < maxCapture {
		x.body = append(append(x.body, text...), '\n')
	}
}

// redisCodes are the first words of the error answers that are counted under a name of their own: what a server writes
// there must not make up names without end.
var redisCodes = map[string]bool{"ERR": true, "WRONGTYPE": true, "MOVED": true, "ASK": true, "TRYAGAIN": true, "CLUSTERDOWN": true,
	"CROSSSLOT": true, "LOADING": true, "BUSY": true, "BUSYKEY": true, "BUSYGROUP": true, "NOGROUP": true, "OOM": true, "NOAUTH": true,
	"WRONGPASS": true, "NOPERM": true, "READONLY": true, "MISCONF": true, "MASTERDOWN": true, "NOREPLICAS": true, "EXECABORT": true,
	"NOSCRIPT": true, "UNKILLABLE": true, "NOPROTO": true}

func redisError(text string) *failed {
	code, _, _ := strings.Cut(text, " ")
	if !redisCodes[code] {
		code = "other error"
	}
	return &failed{Kind("redis " + code), text}
}
