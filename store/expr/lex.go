package expr

import "strings"

type tokenKind uint8

const (
	tokEnd tokenKind = iota
	tokWord
	tokName  // #n
	tokValue // :v
	tokNumber
	tokSymbol
)

type token struct {
	kind       tokenKind
	text       string
	start, end int
}

// scan cuts an expression into tokens; the last is tokEnd.
func scan(text string) ([]token, error) {
	tokens := make([]token, 0, len(text)/3+2)
	for i := 0; i < len(text); {
		c := text[i]
		start := i
		kind := tokSymbol
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
			continue
		case letter(c):
			kind = tokWord
			for i < len(text) && (letter(text[i]) || digit(text[i])) {
				i++
			}
		case digit(c):
			kind = tokNumber
			for i < len(text) && digit(text[i]) {
				i++
			}
		case c == '#' || c == ':':
			kind = tokName
			if c == ':' {
				kind = tokValue
			}
			for i++; i < len(text) && (letter(text[i]) || digit(text[i])); i++ {
			}
			if i == start+1 {
				return nil, syntaxError(text, append(tokens, token{tokSymbol, string(c), start, i}))
			}
		case strings.IndexByte("()[],.=+-", c) >= 0:
			i++
		case c == '<' || c == '>':
			i++
			if i < len(text) && (text[i] == '=' || (c == '<' && text[i] == '>')) {
				i++
			}
		default:
			_, size := firstRune(text[i:])
			return nil, syntaxError(text, append(tokens, token{tokSymbol, text[i : i+size], start, i + size}))
		}
		tokens = append(tokens, token{kind, text[start:i], start, i})
	}
	return append(tokens, token{tokEnd, "<EOF>", len(text), len(text)}), nil
}

func firstRune(s string) (r rune, size int) {
	for i, c := range s {
		if i > 0 {
			return r, i
		}
		r = c
	}
	return r, len(s)
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' }
func digit(c byte) bool  { return c >= '0' && c <= '9' }

// syntaxError complains of the last of the tokens.
func syntaxError(text string, tokens []token) error {
	return syntaxErrorAt(text, tokens, len(tokens)-1)
}

// syntaxErrorAt complains of a token, and shows it between its neighbours.
func syntaxErrorAt(text string, tokens []token, at int) error {
	from, to := tokens[at].start, tokens[at].end
	if at > 0 {
		from = tokens[at-1].start
	}
	if at+1 < len(tokens) {
		to = tokens[at+1].end
	}
	if tokens[at].kind == tokEnd && at > 1 {
		from = tokens[at-2].start
	}
	return errorf("Syntax error; token: \"%s\", near: \"%s\"", tokens[at].text, strings.TrimRight(text[from:to], " \t\r\n"))
}
