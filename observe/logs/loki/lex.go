package loki

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// Bounds on queries.
const (
	maxQuery  = 16 << 10
	maxDepth  = 50
	maxRegexp = 2000
)

// token of LogQL.
type token struct {
	kind kind
	text string // of a string: without quotes
	at   int
}

type kind int

const (
	end kind = iota
	word
	text
	number   // also a duration or size
	operator // everything else
)

// tokens divides a query.
func tokens(s string) ([]token, error) {
	if len(s) > maxQuery {
		return nil, fmt.Errorf("a query of more than %d bytes", maxQuery)
	}
	var all []token
	for i := 0; i < len(s); {
		c := s[i]
		begin := i
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
			continue
		case c == '#': // a comment
			for i < len(s) && s[i] != '\n' {
				i++
			}
			continue
		case c == '"' || c == '`':
			value, n, err := quoted(s[i:])
			if err != nil {
				return nil, fmt.Errorf("parse error at %d: %w", i+1, err)
			}
			i += n
			all = append(all, token{text, value, begin})
			continue
		case c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			for i < len(s) && (s[i] == '_' || s[i] == '.' || s[i] >= '0' && s[i] <= '9' || s[i] >= 'a' && s[i] <= 'z' || s[i] >= 'A' && s[i] <= 'Z') {
				i++
			}
			all = append(all, token{word, s[begin:i], begin})
			continue
		case c >= '0' && c <= '9' || c == '.':
			for i < len(s) && (s[i] == '.' || s[i] >= '0' && s[i] <= '9' || s[i] >= 'a' && s[i] <= 'z' || s[i] >= 'A' && s[i] <= 'Z') {
				i++
			}
			all = append(all, token{number, s[begin:i], begin})
			continue
		}
		op := ""
		for _, o := range []string{"|=", "|~", "|>", "!=", "!~", "!>", "=~", "==", ">=", "<="} {
			if strings.HasPrefix(s[i:], o) {
				op = o
			}
		}
		if op == "" {
			if !strings.ContainsRune("{}()[],|=<>+-*/%^", rune(c)) {
				return nil, fmt.Errorf("parse error at %d: unexpected %q", i+1, c)
			}
			op = s[i : i+1]
		}
		i += len(op)
		all = append(all, token{operator, op, begin})
	}
	return append(all, token{end, "", len(s)}), nil
}

// quoted reads a string in " or ` and says how long it is.
func quoted(s string) (string, int, error) {
	if s[0] == '`' {
		n := strings.IndexByte(s[1:], '`')
		if n < 0 {
			return "", 0, fmt.Errorf("a ` that nothing ends")
		}
		return s[1 : n+1], n + 2, nil
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			value, err := strconv.Unquote(s[:i+1])
			return value, i + 1, err
		case '\n':
			return "", 0, fmt.Errorf("a string goes over a line end")
		}
	}
	return "", 0, fmt.Errorf("a \" that nothing ends")
}

var durationUnits = map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour, "y": 365 * 24 * time.Hour}

// duration reads 5m, 1h30m, 7d.
func duration(s string) (time.Duration, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return d, nil
	}
	if n := len(s) - 1; n > 0 {
		if unit, ok := durationUnits[s[n:]]; ok {
			if v, err := strconv.ParseInt(s[:n], 10, 32); err == nil && v >= 0 && v < 40000 && (unit < 8*24*time.Hour || v < 100) {
				return time.Duration(v) * unit, nil
			}
		}
	}
	return 0, fmt.Errorf("%q is no duration", s)
}
