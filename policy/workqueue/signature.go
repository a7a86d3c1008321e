package workqueue

import (
	"cmp"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Signature of a reason: what is left when all that differs between two failures of one cause is taken out. Numbers, ids
// in hexadecimal, and what stands in quotes become '#', so that 'order 17: no card "x"' and 'order 9: no card "y"' are one.
func Signature(reason string) string {
	if reason == "" {
		return "no reason given"
	}
	var b strings.Builder
	rest := reason
	for rest != "" {
		r := rune(rest[0])
		if r == '"' || r == '`' {
			if end := strings.IndexByte(rest[1:], rest[0]); end >= 0 {
				b.WriteByte('#')
				rest = rest[end+2:]
				continue
			}
		}
		n := strings.IndexFunc(rest, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
		switch {
		case n < 0:
			n = len(rest)
		case n == 0:
			n = 1
		}
		word := rest[:n]
		if strings.ContainsFunc(word, unicode.IsDigit) {
			word = "#"
		}
		b.WriteString(word)
		rest = rest[n:]
	}
	out := b.String()
	for _, joined := range []string{"#-#", "#.#", "#:#"} { // a UUID, an address, a time
		for strings.Contains(out, joined) {
			out = strings.ReplaceAll(out, joined, "#")
		}
	}
	return strings.Join(strings.Fields(out), " ")
}

// Group of dead letters that died of one cause.
type Group struct {
	Signature string `json:"signature"`
	Origin    string `json:"origin,omitempty"`
	Count     int    `json:"count"`
	// First and Last death.
	First time.Duration `json:"first_ns"`
	Last  time.Duration `json:"last_ns"`
	// Example of a reason as it was given, and of a message.
	Example    string `json:"example"`
	ExampleSeq uint64 `json:"example_seq"`
}

// IsDead reports whether a message is a dead letter: one that stayed, or one that came from elsewhere.
func (m *Message) IsDead() bool { return m.Dead || m.Origin != "" }

// died is when its last attempt ended.
func (m *Message) died() time.Duration {
	if len(m.History) == 0 {
		return m.Put
	}
	return m.History[len(m.History)-1].Ended
}

// Groups of the dead letters that died in the given queue (empty: in any), the largest first.
func (q *Queue) Groups(origin string) []Group {
	groups := map[[2]string]*Group{}
	q.Each(func(seq uint64, m *Message) bool {
		if !m.IsDead() || (origin != "" && m.Origin != "" && m.Origin != origin) {
			return true
		}
		reason := m.LastReason()
		key := [2]string{m.Origin, Signature(reason)}
		g := groups[key]
		if g == nil {
			g = &Group{Signature: key[1], Origin: m.Origin, First: m.died(), Last: m.died(), Example: reason, ExampleSeq: seq}
			groups[key] = g
		}
		g.Count++
		g.First, g.Last = min(g.First, m.died()), max(g.Last, m.died())
		if seq < g.ExampleSeq {
			g.Example, g.ExampleSeq = reason, seq
		}
		return true
	})
	out := make([]Group, 0, len(groups))
	for _, g := range groups {
		out = append(out, *g)
	}
	slices.SortFunc(out, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Signature, b.Signature), cmp.Compare(a.Origin, b.Origin))
	})
	return out
}

// DeadSeqs are the numbers of the dead letters that died in the given queue (empty: in any) of the given cause (empty: of any),
// the oldest first.
func (q *Queue) DeadSeqs(origin, signature string) []uint64 {
	var out []uint64
	q.Each(func(seq uint64, m *Message) bool {
		if m.IsDead() && (origin == "" || m.Origin == "" || m.Origin == origin) && (signature == "" || Signature(m.LastReason()) == signature) {
			out = append(out, seq)
		}
		return true
	})
	slices.Sort(out)
	return out
}
