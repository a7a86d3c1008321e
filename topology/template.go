package topology

import (
	"errors"
	"fmt"
	"strings"
)

// PathRewrite turns a path that fits one template into the path of another. It is safe for concurrent use.
type PathRewrite struct {
	from []segment
	to   []segment
}

// segment of a template between slashes: a text, a name for one segment, or for all that are left.
type segment struct {
	text string
	name bool
	rest bool
}

// maxSegments bounds templates.
const maxSegments = 32

// NewPathRewrite compiles 'from' and 'to' of a Rewrite. Every name of to must stand in from, once.
func NewPathRewrite(from, to string) (*PathRewrite, error) {
	f, err := parseTemplate(from)
	if err != nil {
		return nil, fmt.Errorf("from: %w", err)
	}
	t, err := parseTemplate(to)
	if err != nil {
		return nil, fmt.Errorf("to: %w", err)
	}
	seen := map[string]bool{}
	for _, s := range f {
		if s.name && seen[s.text] {
			return nil, fmt.Errorf("from: the name {%s} stands twice", s.text)
		}
		seen[s.text] = seen[s.text] || s.name
	}
	for _, s := range t {
		if s.name && !seen[s.text] {
			return nil, fmt.Errorf("to: there is no {%s} in from", s.text)
		}
	}
	return &PathRewrite{from: f, to: t}, nil
}

func parseTemplate(text string) ([]segment, error) {
	if !strings.HasPrefix(text, "/") {
		return nil, errors.New("a path starts with a slash")
	}
	parts := strings.Split(text[1:], "/")
	if len(parts) > maxSegments {
		return nil, fmt.Errorf("%d segments: want at most %d", len(parts), maxSegments)
	}
	out := make([]segment, len(parts))
	for i, part := range parts {
		inner, open := strings.CutPrefix(part, "{")
		inner, closed := strings.CutSuffix(inner, "}")
		switch {
		case open != closed, strings.ContainsAny(inner, "{}"), strings.ContainsAny(part, "?#*%"):
			return nil, fmt.Errorf("segment %q: want plain text or {name}", part)
		case part == "." || part == "..":
			return nil, fmt.Errorf("segment %q leads out of the path", part)
		case !open:
			out[i] = segment{text: part}
			continue
		}
		name, rest := strings.CutSuffix(inner, "...")
		if !variablePattern.MatchString(name) {
			return nil, fmt.Errorf("segment %q: want a name of letters, digits, underscores and dashes", part)
		}
		if rest && i < len(parts)-1 {
			return nil, fmt.Errorf("segment %q: it takes all that is left, and must be the last", part)
		}
		out[i] = segment{text: name, name: true, rest: rest}
	}
	return out, nil
}

// Apply returns the new path of a request, in the encoding of the old one; ok is false where that does not fit.
func (p *PathRewrite) Apply(path string) (out string, ok bool) {
	values := make([]string, len(p.from))
	left := strings.TrimPrefix(path, "/")
	for i, s := range p.from {
		if s.rest {
			values[i] = left
			break
		}
		part, after, more := strings.Cut(left, "/")
		if more != (i < len(p.from)-1) || !s.name && part != s.text || s.name && part == "" {
			return "", false
		}
		values[i], left = part, after
	}
	var b strings.Builder
	for _, s := range p.to {
		b.WriteByte('/')
		if !s.name {
			b.WriteString(s.text)
			continue
		}
		for i, f := range p.from {
			if f.name && f.text == s.text {
				b.WriteString(values[i])
			}
		}
	}
	return b.String(), true
}
